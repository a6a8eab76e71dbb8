"""A campaign does what was ordered, the same for the same seed, and counts what became of its pushes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from deploy.sandbox.cloud.campaign import CampaignOrder, deal_endings
from tests.unit.sandbox.gateway_reader import GatewayReader
from tests.unit.sandbox.simulation import Simulation


def order(**fields: Any) -> CampaignOrder:
    return CampaignOrder(account="tuya-demo", **fields)


def test_the_default_shares_are_dealt_exactly() -> None:
    dealt = Counter(deal_endings(order(devices=200)))
    assert dealt == {"succeeded": 150, "failed": 20, "timed_out": 10, "silent": 20}


def test_shares_that_do_not_divide_evenly_still_make_every_device() -> None:
    dealt = Counter(deal_endings(order(devices=7, endings={"failed": 0.5, "stuck": 0.5})))
    assert sorted(dealt.values()) == [3, 4]


def test_what_the_shares_leave_succeeds() -> None:
    assert Counter(deal_endings(order(devices=10, endings={"stuck": 0.2}))) == {"succeeded": 8, "stuck": 2}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"endings": {"exploded": 0.1}}, "unknown ending exploded; known are succeeded"),
        ({"endings": {"failed": 0.7, "stuck": 0.7}}, "more than 1"),
        ({"devices": 0}, "devices"),
        ({"devices": 100_001}, "devices"),
        ({"rate_per_s": 0}, "rate_per_s"),
        ({"speed": 3}, "speed"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_by_name(body: dict[str, Any], complaint: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=complaint):
        msgspec.convert({"account": "tuya-demo", "devices": 5} | body, CampaignOrder)


def story(seed: int) -> tuple[list[Any], list[dict[str, Any]]]:
    simulation = Simulation()
    simulation.faults.replace({"push_drop": 0.2, "push_duplicate": 0.2, "push_garble": 0.1})
    simulation.campaign(40, rate_per_s=20, seed=seed)
    simulation.advance()
    sent = [(device_id, sealed.payload) for device_id, sealed in simulation.publisher.sent]
    return [(device_id, len(payload)) for device_id, payload in sent], simulation.truths()


def test_the_same_seed_tells_the_same_story_and_another_seed_another() -> None:
    assert story(1) == story(1)
    assert story(1) != story(2)


def test_upgrades_begin_at_the_ordered_rate() -> None:
    simulation = Simulation()
    campaign = simulation.campaign(100, rate_per_s=10)
    simulation.advance(4.95)
    assert campaign.report()["started"] == 50


def test_it_is_finished_when_nothing_will_change_and_no_push_is_on_its_way() -> None:
    simulation = Simulation()
    simulation.publisher.down = True
    campaign = simulation.campaign(20, rate_per_s=100)
    simulation.advance()
    assert campaign.report()["state"] == "running"
    assert campaign.report()["pushes_sent"] == 0
    simulation.publisher.recover()
    report = campaign.report()
    assert report["state"] == "finished"
    assert report["pushes_sent"] == len(simulation.publisher.sent)
    before = simulation.truths()
    simulation.advance(3600)
    assert simulation.truths() == before


def test_devices_are_taken_again_when_they_are_idle_and_end_as_the_new_campaign_says() -> None:
    simulation = Simulation()
    simulation.all_of("failed", 20)
    simulation.advance()
    simulation.all_of("succeeded", 20, seed=2)
    simulation.advance()
    assert len(simulation.fleet) == 20
    for device in simulation.fleet:
        assert "succeeded" in {channel.status for channel in device.channels}


def test_every_push_is_counted_as_what_became_of_it() -> None:
    simulation = Simulation()
    simulation.faults.replace({"push_drop": 0.3, "push_duplicate": 0.2, "push_garble": 0.2})
    campaign = simulation.campaign(100, rate_per_s=100)
    simulation.advance()
    report = campaign.report()
    reader = GatewayReader()
    observations = reader.read(simulation.publisher.sent)
    garbled = report["pushes_garbled"]
    assert reader.dead_letters == garbled
    # A message that names two devices also makes a hint for each.
    assert len(observations) == report["pushes_sent"] + 2 * garbled["id_conflict"]
    assert report["pushes_dropped"] > 0
