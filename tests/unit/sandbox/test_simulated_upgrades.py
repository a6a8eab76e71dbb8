"""Each ending leaves what the contract lets a cloud leave, and never what nobody could know."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from deploy.sandbox.cloud.fleet import Channel, Device
from deploy.sandbox.cloud.life import ENDINGS, FAILURES, End, Ending, PushProgress, PushStatus, plan_upgrade
from deploy.sandbox.cloud.tuya_cloud.answers import number_of
from schemas import Observation
from tests.unit.sandbox.gateway_reader import GatewayReader
from tests.unit.sandbox.simulation import Simulation

SHOWN_AT_THE_END = {
    "succeeded": {(3, True), (0, True)},
    "offline": {(3, True), (0, True)},
    "silent": {(3, True)},
    "failed": {(4, False)},
    "timed_out": {(7, False)},
    "cancelled": {(0, False), (1, False)},
    "stuck": {(2, False)},
}
TRUE_STATUS = {
    "succeeded": "succeeded",
    "offline": "succeeded",
    "silent": "succeeded",
    "failed": "failed",
    "timed_out": "timed_out",
    "cancelled": "cancelled",
    "stuck": "installing",
    "removed": "cancelled",
}
DEVICES = 60


def upgraded(device: Device) -> Channel:
    return next(channel for channel in device.channels if channel.attempts)


def pushes(simulation: Simulation) -> list[Observation]:
    reader = GatewayReader()
    observations = reader.read(simulation.publisher.sent)
    assert not reader.dead_letters
    return observations


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_truth_is_the_ending(ending: Ending) -> None:
    simulation = Simulation()
    simulation.all_of(ending, DEVICES)
    simulation.advance()
    for device in simulation.fleet:
        channel = upgraded(device)
        assert channel.status == TRUE_STATUS[ending]
        assert channel.outcome == (None if ending == "stuck" else channel.status)
        succeeded = channel.status == "succeeded"
        assert (channel.current_version == channel.target_version) is succeeded
        assert device.removed is (ending == "removed")


@pytest.mark.parametrize("ending", sorted(SHOWN_AT_THE_END))
def test_rest_agrees_with_the_truth_at_the_end(ending: Ending) -> None:
    simulation = Simulation()
    simulation.all_of(ending, DEVICES)
    simulation.advance()
    seen = set()
    for device in simulation.fleet:
        channel = upgraded(device)
        assert channel.shown.current_version == channel.current_version
        seen.add((number_of(channel.shown), channel.current_version == channel.target_version))
    assert seen == SHOWN_AT_THE_END[ending]


@pytest.mark.parametrize("ending", ["failed", "timed_out", "succeeded"])
def test_an_outcome_is_claimed_before_rest_shows_it(ending: Ending) -> None:
    simulation = Simulation()
    simulation.all_of(ending, DEVICES)
    reader, claimed = GatewayReader(), set()
    for _ in simulation.moments():
        pushed = reader.read(simulation.publisher.sent)
        claimed |= {observation.device_id for observation in pushed if observation.claimed == ending}
        for device in simulation.fleet:
            channel = upgraded(device) if any(c.attempts for c in device.channels) else device.channels[0]
            shows_outcome = number_of(channel.shown) in (3, 4, 7)
            shows_new_version = channel.shown.current_version != channel.shown_before.current_version
            assert device.device_id in claimed or not (shows_outcome or shows_new_version)
    assert len(claimed) == DEVICES


def test_a_silent_success_pushes_nothing_at_all() -> None:
    simulation = Simulation()
    simulation.all_of("silent", DEVICES)
    simulation.advance()
    assert simulation.publisher.sent == []


def test_failures_come_with_every_reason_the_devices_have() -> None:
    simulation = Simulation()
    simulation.all_of("failed", 300)
    simulation.advance()
    claims = {o.vendor_status for o in pushes(simulation) if o.claimed == "failed"}
    assert claims == {str(value) for value in FAILURES}
    truths = {upgraded(device).reason for device in simulation.fleet}
    pushed = {o.reason.code if o.reason else None for o in pushes(simulation) if o.claimed == "failed"}
    assert truths == pushed


@pytest.mark.parametrize("ending", ENDINGS)
def test_progress_rises_and_falls_only_when_the_server_begins_again(ending: Ending) -> None:
    for seed in range(200):
        steps = plan_upgrade(ending, Random(seed))
        progress = [s.action.percent for s in steps if isinstance(s.action, PushProgress)]
        assert progress
        assert all(1 <= percent <= 100 for percent in progress)
        falls = [before - after for before, after in itertools.pairwise(progress) if after < before]
        assert all(fall >= 20 for fall in falls)
        assert len(falls) <= 1


@pytest.mark.parametrize("ending", ["succeeded", "offline", "silent", "failed", "timed_out", "stuck"])
def test_an_upgrade_takes_ten_to_thirty_seconds(ending: Ending) -> None:
    for seed in range(200):
        steps = plan_upgrade(ending, Random(seed))
        ended_s = next(step.at_s for step in steps if isinstance(step.action, End))
        assert 10 <= ended_s <= 31.5
        # What comes after is REST's lag and its forgetting.
        assert steps[-1].at_s <= ended_s + 14


def test_statuses_are_pushed_in_an_order_that_the_tables_allow() -> None:
    rank = {1: 0, 5: 0, 13: 0, 10: 1, 11: 2, 2: 3, 12: 3}
    for seed in range(300):
        steps = plan_upgrade("succeeded", Random(seed))
        values = [s.action.value for s in steps if isinstance(s.action, PushStatus)]
        assert values[-1] == 3
        ranks = [rank[value] for value in values[:-1]]
        assert ranks == sorted(ranks)
        assert {2} <= set(values) or {10, 11, 12} <= set(values)


def test_a_success_is_never_reset_when_its_claim_was_not_read() -> None:
    simulation = Simulation()
    simulation.reader.absent = True
    simulation.all_of("succeeded", DEVICES)
    simulation.advance()
    assert {number_of(upgraded(device).shown) for device in simulation.fleet} == {3}


def test_a_success_is_never_reset_when_its_claim_was_dropped_or_garbled() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_drop": 0.5, "push_garble": 0.5})
    simulation.all_of("succeeded", DEVICES)
    simulation.advance()
    reader = GatewayReader()
    claimed = {o.device_id for o in reader.read(simulation.publisher.sent) if o.claimed == "succeeded"}
    reset = {device.device_id for device in simulation.fleet if number_of(upgraded(device).shown) == 0}
    assert reset <= claimed
    assert len(reset) > 0


@pytest.mark.parametrize("ending", ["cancelled", "removed"])
def test_an_ending_without_a_trace_waits_until_somebody_could_know(ending: Ending) -> None:
    simulation = Simulation()
    simulation.reader.absent = True
    campaign = simulation.all_of(ending)
    simulation.advance(45)
    assert campaign.report()["ended"] == {}
    simulation.fleet[0].told = True
    simulation.advance(10)
    assert campaign.report()["ended"] == {"cancelled": 1}


@pytest.mark.parametrize("ending", ["cancelled", "removed"])
def test_an_ending_that_nobody_could_know_leaves_the_truth_as_it_was(ending: Ending) -> None:
    simulation = Simulation()
    simulation.reader.absent = True
    before = simulation.fleet.create().channels[0].status
    simulation.all_of(ending)
    simulation.advance()
    assert upgraded(simulation.fleet[0]).status == before
    assert upgraded(simulation.fleet[0]).outcome is None
    assert upgraded(simulation.fleet[0]).visible_attempts == 0


@pytest.mark.parametrize("ending", sorted({*ENDINGS} - {"stuck", "removed"}))
def test_the_truth_counts_each_attempt_that_a_device_began(ending: Ending) -> None:
    simulation = Simulation()
    for began in (0, 1, 2):
        assert sum(channel["attempts"] for truth in simulation.truths() for channel in truth["channels"]) == (
            began * DEVICES
        )
        simulation.all_of(ending, DEVICES, seed=began)
        simulation.advance()


def test_a_device_is_unreachable_while_it_is_away_and_comes_back() -> None:
    simulation = Simulation()
    simulation.all_of("offline", 20)
    simulation.advance()
    for device in simulation.fleet:
        spoken = [o for o in pushes(simulation) if o.device_id == device.device_id]
        online = True
        for observation in spoken:
            if observation.lifecycle in ("online", "offline"):
                online = observation.lifecycle == "online"
            assert online or observation.kind != "progress"
        assert {o.lifecycle for o in spoken if o.kind == "lifecycle"} == {"online", "offline"}
        assert device.online


def test_a_stuck_device_is_never_taken_again() -> None:
    simulation = Simulation()
    simulation.all_of("stuck", 3)
    simulation.advance()
    assert list(simulation.fleet.idle()) == []
