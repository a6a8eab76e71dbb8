"""The demo's fleet: every cloud has its part, and every ending that a cloud can tell of happens at it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from deploy.sandbox.cloud.campaign import CampaignOrder, deal_endings
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.demo.fleet import introduction, share_out, short_name

ACCOUNTS: dict[str, dict[str, Any]] = {
    system.demo_name or f"{cloud}-demo": {"cloud": cloud} for cloud, system in SYSTEMS.items()
}


def test_the_fleet_is_shared_out_to_every_cloud_and_all_begin_and_end_together() -> None:
    fleet = share_out(ACCOUNTS, devices=200, rate_per_s=20.0, seed=7)

    first, *others = fleet
    assert first.cloud == "tuya-cloud"
    assert {part.cloud: part.devices for part in others} == {
        cloud: round(200 * system.demo_share) for cloud, system in SYSTEMS.items() if cloud != "tuya-cloud"
    }
    assert sum(part.devices for part in fleet) == 200
    assert {part.devices / part.rate_per_s for part in fleet} == {10.0}
    assert {part.account for part in fleet} == set(ACCOUNTS)
    assert {part.seed for part in fleet} == {7}


@pytest.mark.parametrize("devices", [5, 6, 17, 203])
def test_no_device_is_lost_and_no_cloud_left_out(devices: int) -> None:
    fleet = share_out(ACCOUNTS, devices=devices, rate_per_s=1.0, seed=1)

    assert sum(part.devices for part in fleet) == devices
    assert min(part.devices for part in fleet) >= 1


def test_fewer_devices_than_clouds_are_refused() -> None:
    with pytest.raises(ValueError, match=f"{len(SYSTEMS)} clouds need at least as many devices, not 4"):
        share_out(ACCOUNTS, devices=4, rate_per_s=1.0, seed=1)


def test_at_every_cloud_every_ending_that_it_can_tell_of_happens() -> None:
    for part in share_out(ACCOUNTS, devices=200, rate_per_s=20.0, seed=1):
        order = msgspec.convert(part.order(), CampaignOrder)

        dealt = Counter(deal_endings(order, SYSTEMS[part.cloud].endings))

        assert set(dealt) == SYSTEMS[part.cloud].endings == set(part.endings)
        assert dealt.total() == part.devices


def test_the_introduction_names_who_upgrades_and_fits_the_terminal() -> None:
    lines = list(introduction(share_out(ACCOUNTS, devices=200, rate_per_s=20.0, seed=1), 0.1))

    assert lines[0] == f"200 devices of {len(SYSTEMS)} clouds upgrade at the same time:"
    assert all(any(cloud in line for line in lines[1:3]) for cloud in SYSTEMS)
    assert any(line.startswith("10% of the pushes get lost.") for line in lines)
    assert max(map(len, lines)) <= 100


def test_accounts_have_short_names_that_tell_them_apart() -> None:
    assert {"tuya", "illume", "hedwig", "ocean", "enos"} <= {short_name(account) for account in ACCOUNTS}
    assert len({short_name(account) for account in ACCOUNTS}) == len(SYSTEMS)
