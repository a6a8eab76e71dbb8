"""docs/topics.md tells everything that is on the public topics, and its examples are what a bridge writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from bridge.fold.bookkeeping import Bookkeeping
from bridge.fold.device import DEVICE_STATUS_ORDER, Device, device_status
from bridge.fold.encoding import encode_device, encode_event
from bridge.fold.events import EventType, TypedEvent
from schemas import PHASES, Attempt, Channel, UpgradeEvent, UpgradeState, vocabulary
from schemas.upgrade_state import DeviceLabel

PAGE = (Path(__file__).parents[3] / "docs" / "topics.md").read_text(encoding="utf-8")


def example(name: str) -> str:
    found = re.search(rf"^```{name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, name
    return found[1]


def words(enumeration: Any) -> list[str]:
    """The examples of an open enumeration."""
    (meta,) = enumeration.__metadata__
    return list(meta.examples)


def test_the_example_event_is_what_the_fold_writes_headers_and_all() -> None:
    text = example("json event")
    event = msgspec.json.decode(text, type=UpgradeEvent)
    shown = dict(line.split(maxsplit=1) for line in example("text").splitlines())

    _, value, headers = encode_event(TypedEvent("ota.upgrade.status_changed", event))

    assert json.loads(value) == json.loads(text)
    assert shown == {"key": event.device_id} | {name: header.decode() for name, header in headers}


def test_the_example_state_is_what_the_fold_writes_and_names_its_private_headers() -> None:
    text = example("json state")
    state = msgspec.json.decode(text, type=UpgradeState)

    value, headers = encode_device(Device(state, Bookkeeping()), None)

    assert json.loads(value) == json.loads(text)
    assert state.status == device_status(state.channels)
    assert all(f"`{name}`" in PAGE for name, _ in headers)


def test_a_devices_status_is_derived_in_the_order_that_the_page_gives() -> None:
    (sentence,) = re.findall(r"the first of (.*?): what is under way", PAGE, re.DOTALL)

    assert tuple(re.findall(r"`(\w+)`", sentence)) == DEVICE_STATUS_ORDER


def test_each_status_stands_with_its_phase() -> None:
    rows = re.findall(r"^\| (`[\w`, ]+`) \| `(\w+)` \|", PAGE, re.MULTILINE)

    assert {status: phase for names, phase in rows for status in re.findall(r"\w+", names)} == PHASES


@pytest.mark.parametrize("record", [UpgradeEvent, UpgradeState, Channel, Attempt, DeviceLabel])
def test_every_field_is_explained(record: type[msgspec.Struct]) -> None:
    explained = set(re.findall(r"`(\w+)`", PAGE))

    assert {field.encode_name for field in msgspec.structs.fields(record)} <= explained


def test_every_type_of_event_and_every_reason_is_explained() -> None:
    rows = {name for row in re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE) for name in row.split("`")}

    assert set(get_args(EventType)) <= rows
    assert set(words(vocabulary.ReasonCode)) <= rows
