"""Pushes are sealed as the contract says, and the push knobs do what their names say."""

from __future__ import annotations

import base64
import json
from collections import Counter
from random import Random

import pytest

from deploy.sandbox.cloud.envelope import SPOILERS, Key, Manner, Mode, Spoiling, seal
from deploy.sandbox.cloud.faults import Dice
from deploy.sandbox.cloud.gateway import PushTally
from deploy.sandbox.cloud.messages import naming_another, report, upgrade_status, without_device
from tests.unit.sandbox.gateway_reader import GatewayReader
from tests.unit.sandbox.simulation import ACCOUNT, BEGIN_S, Simulation

NOW_MS = int(BEGIN_S * 1000)
# The dummy credentials that the vendor published with its own SDK's tests, and the published message.
PUBLISHED_BODY = (
    '{"dataId":"dataIddataIddataIddataId","devId":"devIddevIddevIddevIddevId",'
    '"productKey":"productKeypro","status":[{"code":"code","t":1622449865296,"value":280}]}'
)
PUBLISHED_DATA = (
    "9Pe6AYEE2fJyCh5gcY/+mCY2yhFsxZ6Pjt+n1WkotuvVHRAKjf+aV+HPMrx55iSk1ot9TiUZkiufxWreZ7VMEJ3uo8iT992qq4w+mnjT"
    "fi/Ph9hyB3UJTQOlkdChT93LYnQGgEqWrY77X2vgC6bIKUGgCV2mD0A1a2QwO0gXtPhQabf1RL9SdVUUqqMJKgAEEYdqygcT/V08yNDg"
    "SAnIMQ=="
)


def push_many(simulation: Simulation, count: int = 400) -> PushTally:
    """Push one status for each of `count` devices."""
    tally = PushTally()
    for number in range(count):
        device = simulation.fleet.create()
        message = upgrade_status(device, 0, 2, NOW_MS)
        simulation.gateway.push(device, [message], fate=f"fate/{number}", tally=tally)
    return tally


def test_the_published_message_is_sealed_to_the_published_text() -> None:
    sealed = seal(
        PUBLISHED_BODY.encode(),
        protocol=4,
        t_ms=1622449865378,
        key=Key(ACCOUNT.access_key),
        manner=Manner(mode="aes_ecb"),
        nonce=bytes(12),
    )
    envelope = json.loads(sealed.payload)
    assert envelope["data"] == PUBLISHED_DATA
    assert envelope["sign"] == "b5bb6cac09f8baa21c9bb24c7f587620"
    assert sealed.properties["em"] == "aes_ecb"


def test_every_manner_of_sealing_is_used_and_stage_one_reads_them_all() -> None:
    simulation = Simulation()
    push_many(simulation)
    reader = GatewayReader()
    assert len(reader.read(simulation.publisher.sent)) == 400
    modes = Counter(sealed.properties.get("em") for _, sealed in simulation.publisher.sent)
    assert set(modes) == {"aes_gcm", "aes_ecb", None}
    assert modes["aes_gcm"] > 200
    versions = Counter(b"encryptVersion" in sealed.payload for _, sealed in simulation.publisher.sent)
    assert set(versions) == {True, False}


def test_a_nonce_is_never_used_twice() -> None:
    simulation = Simulation()
    push_many(simulation)
    nonces = [sealed.properties["tid"] for _, sealed in simulation.publisher.sent]
    assert len(set(nonces)) == len(nonces)


@pytest.mark.parametrize("mode", ["aes_gcm", "aes_ecb"])
@pytest.mark.parametrize("reason", sorted(SPOILERS))
def test_a_spoiled_message_becomes_exactly_its_dead_letter(reason: str, mode: Mode) -> None:
    simulation = Simulation()
    device, other = simulation.fleet.create(), simulation.fleet.create()
    message = upgrade_status(device, 0, 2, NOW_MS)
    parts = Spoiling(
        body=message.body,
        protocol=message.protocol,
        t_ms=NOW_MS,
        key=Key(ACCOUNT.access_key),
        manner=Manner(mode=mode),
        nonce=bytes(12),
        body_without_device=without_device(message).body,
        body_naming_two=naming_another(message, other).body,
    )
    reader = GatewayReader()
    reader.read([(device.device_id, SPOILERS[reason](parts))])
    assert reader.dead_letters == {reason: 1}


def test_the_garbled_are_counted_by_reason_and_replace_the_good_ones() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_garble": 1.0})
    tally = push_many(simulation)
    reader = GatewayReader()
    reader.read(simulation.publisher.sent)
    assert tally.sent == 0
    assert reader.dead_letters == tally.garbled
    assert set(tally.garbled) == set(SPOILERS)
    assert tally.garbled.total() == 400


def test_dropped_pushes_never_arrive_and_are_counted() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_drop": 0.25})
    tally = push_many(simulation)
    assert tally.dropped + tally.sent == 400
    assert tally.sent == len(simulation.publisher.sent)
    assert 60 < tally.dropped < 140


def test_a_silent_gateway_sends_nothing() -> None:
    simulation = Simulation()
    simulation.faults.replace({"gateway_silent": True})
    assert push_many(simulation).dropped == 400
    device = simulation.fleet[0]
    assert not simulation.gateway.report(device, report(device, Random(1), NOW_MS), Dice("report"))
    assert simulation.publisher.sent == []


def test_duplicates_carry_the_same_event_and_count_as_sent() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_duplicate": 1.0})
    tally = push_many(simulation, 20)
    simulation.advance()
    assert tally.sent == 40
    observations = GatewayReader().read(simulation.publisher.sent)
    events = Counter((o.device_id, o.vendor_time_at_ms, o.vendor_status) for o in observations)
    assert set(events.values()) == {2}


def test_delayed_pushes_come_later_and_in_order() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_delay_s": 5.0})
    tally = push_many(simulation, 20)
    simulation.advance(4.9)
    assert simulation.publisher.sent == []
    assert tally.waiting == 20
    simulation.advance(0.2)
    assert [device_id for device_id, _ in simulation.publisher.sent] == [
        d.device_id for d in simulation.fleet
    ]
    assert tally.waiting == 0


def test_reordered_pushes_are_overtaken_and_not_lost() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_reorder": 0.5})
    push_many(simulation, 40)
    simulation.advance()
    order = [device_id for device_id, _ in simulation.publisher.sent]
    begun = [device.device_id for device in simulation.fleet]
    assert order != begun
    assert sorted(order) == sorted(begun)


def test_the_previous_key_signs_and_encrypts_its_share() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_previous_key": 0.5})
    push_many(simulation, 100)
    reader = GatewayReader()
    assert len(reader.read(simulation.publisher.sent)) == 100
    previous = Key(ACCOUNT.previous_access_key or "")
    signed = 0
    for _, sealed in simulation.publisher.sent:
        fields = json.loads(sealed.payload)
        sign = fields.pop("sign")
        core = {name: fields[name] for name in ("data", "protocol", "pv", "t")}
        signed += sign in (previous.sign(fields), previous.sign(core))
    assert 30 < signed < 70


@pytest.mark.parametrize(("share", "modes"), [(0.0, {"aes_gcm"}), (1.0, {"aes_ecb", None})])
def test_the_share_of_ecb_can_be_set(share: float, modes: set[str | None]) -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_ecb_share": share})
    push_many(simulation, 100)
    assert {sealed.properties.get("em") for _, sealed in simulation.publisher.sent} == modes


def test_the_skewed_clock_is_the_clock_of_pushes_too() -> None:
    simulation = Simulation()
    simulation.faults.replace({"rest_clock_skew_s": 120.0})
    push_many(simulation, 1)
    assert json.loads(simulation.publisher.sent[0][1].payload)["t"] == NOW_MS + 120_000


def test_reports_are_what_a_reader_filters() -> None:
    simulation = Simulation()
    for number in range(40):
        device = simulation.fleet.create()
        message = report(device, Random(number), NOW_MS)
        assert simulation.gateway.report(device, message, Dice(str(number)))
    reader = GatewayReader()
    assert reader.read(simulation.publisher.sent) == []
    assert not reader.dead_letters
    protocols = {json.loads(sealed.payload)["protocol"] for _, sealed in simulation.publisher.sent}
    assert protocols == {4, 1000}
    sizes = [len(base64.b64decode(json.loads(s.payload)["data"])) for _, s in simulation.publisher.sent]
    assert 300 < sum(sizes) / len(sizes) < 900
