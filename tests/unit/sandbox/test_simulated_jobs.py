"""A cloud without pushes: upgrades as jobs and tasks, endings that its API can express, and what it shows of them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.campaign import CampaignOrder, deal_endings
from deploy.sandbox.cloud.fleet import FleetManner
from deploy.sandbox.cloud.life import ENDINGS
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.cloud.view import View, view_for
from tests.unit.sandbox.simulation import Simulation

DEVICES = 30
CAN = frozenset(ENDINGS) - {"timed_out"}


def without_pushes(*, keeps_tasks: bool = False) -> Simulation:
    system = replace(
        SYSTEMS["tuya-cloud"],
        manner=FleetManner(
            device_id=lambda digest: f"toy-{digest[:8]}", main_channel="firmware", keeps_tasks=keeps_tasks
        ),
        endings=CAN,
        has_gateway=False,
    )
    return Simulation(account=SimulatedAccount(name="toy-demo", cloud="toys"), system=system)


def test_devices_look_as_their_cloud_has_them() -> None:
    simulation = without_pushes()
    simulation.all_of("succeeded", DEVICES)
    simulation.advance()

    assert all(truth["device_id"].startswith("toy-") for truth in simulation.truths())
    assert {channel["channel"] for truth in simulation.truths() for channel in truth["channels"]} == {
        "firmware"
    }
    assert {channel["status"] for truth in simulation.truths() for channel in truth["channels"]} == {
        "succeeded"
    }
    assert simulation.publisher.sent == []


@pytest.mark.parametrize("ending", sorted(CAN))
def test_the_task_ends_as_its_device_does(ending: str) -> None:
    simulation = without_pushes()
    simulation.all_of(ending, DEVICES)
    while simulation.timeline.next_at_s is not None:
        simulation.advance(1.0)
        for device in simulation.fleet:
            # Somebody reads: without that nobody could tell that a cancelled one ever began.
            device.told = device.told or view_for(device, simulation.faults.of("toy-demo"), 0.0).tells(device)

    for device in simulation.fleet:
        (task,) = View().tasks(simulation.fleet, device)
        (channel,) = device.channels
        if ending != "removed":
            assert task.status == channel.status
        assert task.target_version == task.job.package.version
        assert (task.channel, task.device_id) == ("firmware", device.device_id)


@pytest.mark.parametrize("keeps_tasks", [False, True])
def test_a_cancel_that_nobody_saw_coming_is_true_only_where_its_task_stays(*, keeps_tasks: bool) -> None:
    simulation = without_pushes(keeps_tasks=keeps_tasks)
    simulation.all_of("cancelled", DEVICES)
    simulation.advance()

    told = {
        (channel["status"], channel["attempts"])
        for truth in simulation.truths()
        for channel in truth["channels"]
    }
    assert told == ({("cancelled", 1)} if keeps_tasks else {("idle", 0)})


def test_devices_of_one_product_and_target_share_a_job_and_its_package() -> None:
    simulation = without_pushes()
    simulation.all_of("succeeded", 60)
    simulation.advance()
    first = len(simulation.fleet.jobs.jobs)
    simulation.all_of("failed", 60)
    simulation.advance()
    jobs = simulation.fleet.jobs

    assert first < 60
    assert len(jobs.jobs) > first
    assert sum(len(job.tasks) for job in jobs.jobs) == 120
    for job in jobs.jobs:
        assert len({task.target_version for task in job.tasks}) == 1
    assert len({package.number for package in jobs.packages}) == len(jobs.packages)
    assert {package.state for package in jobs.packages} <= {"usable", "unverified", "checking", "rejected"}


def test_a_lie_hides_the_latest_task() -> None:
    simulation = without_pushes()
    simulation.all_of("stuck", 1)
    simulation.advance()
    (device,) = simulation.fleet

    assert View().tells(device)
    assert len(View().tasks(simulation.fleet, device)) == 1
    assert not View(lies=True).tells(device)
    assert View(lies=True).tasks(simulation.fleet, device) == []


def test_an_ending_that_the_api_cannot_express_is_given_to_no_device() -> None:
    order = CampaignOrder(account="toy-demo", devices=100, endings={"timed_out": 0.5, "failed": 0.2})

    dealt = deal_endings(order, CAN)

    assert (dealt.count("timed_out"), dealt.count("failed"), dealt.count("succeeded")) == (0, 20, 80)
