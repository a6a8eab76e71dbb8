"""A fleet follows from its seed; its versions and pages behave as clients rely on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from deploy.sandbox.cloud.fleet import Fleet, next_version


def fleet_of(devices: int, seed: int = 1) -> Fleet:
    fleet = Fleet(account="tuya-demo", cloud="tuya-cloud", seed=seed)
    for _ in range(devices):
        fleet.create()
    return fleet


def described(fleet: Fleet) -> Any:
    return msgspec.to_builtins(list(fleet))


def test_the_same_seed_makes_the_same_fleet_and_another_seed_another() -> None:
    assert described(fleet_of(50)) == described(fleet_of(50))
    assert {device.device_id for device in fleet_of(50)}.isdisjoint(d.device_id for d in fleet_of(50, seed=2))


def test_a_fleet_has_all_sorts_of_devices() -> None:
    fleet = fleet_of(200)
    assert {device.answer_shape for device in fleet} == {"list", "object", "nested"}
    assert {device.generation for device in fleet} == {"legacy", "core", "both"}
    assert {len(device.channels) for device in fleet} == {1, 2}
    assert {device.numbers_as_text for device in fleet} == {True, False}


def test_an_object_answer_is_given_only_where_there_is_one_channel() -> None:
    assert all(len(device.channels) == 1 for device in fleet_of(500) if device.answer_shape == "object")


def test_pages_hold_every_listed_device_once() -> None:
    fleet = fleet_of(45)
    fleet[7].listed = False
    seen: list[str] = []
    while page := fleet.page(seen[-1] if seen else None, 20):
        seen += [device.device_id for device in page]
    assert seen == [device.device_id for device in fleet if device is not fleet[7]]


def test_a_page_after_an_unknown_device_is_no_page() -> None:
    assert fleet_of(3).page("nobody", 20) is None


@pytest.mark.parametrize(
    ("version", "step", "expected"),
    [
        ("1.0.0", 1, "1.0.1"),
        ("V1.1.10", 2, "V1.1.12"),
        ("2020.01", 1, "2020.02"),
        ("7777", 1, "7778"),
        ("beta", 1, "beta.1"),
    ],
)
def test_the_next_version_raises_the_last_number(version: str, step: int, expected: str) -> None:
    assert next_version(version, step) == expected
