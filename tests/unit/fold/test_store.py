"""The store: it gives back what it was given, whatever form it keeps it in, and only what was committed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from bridge.fold import store as store_module
from bridge.fold.device import Device
from bridge.fold.encoding import encode_device
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from schemas import Package
from tests.unit.fold.story import Story, upgrading


def _failed() -> Story:
    story = upgrading()
    story.progress(110, 40, task_id="task")
    story.claim(200, "failed", code="no_space")
    story.answer(210, "failed", now="1.0", offer="1.1", package=Package(id="p", state="verified"))
    return story


def _two_channels() -> Story:
    story = Story(policy=Policy(device_names=True))
    story.answer(0, "idle", now="1.0", product_id="p1")
    story.tell(1, origin="push", kind="lifecycle", lifecycle="renamed", name="Lamp ☀")
    story.push(100, "downloading", channel="9", vendor_timeout_s=900, needs_confirmation=True)
    return story


def _removed() -> Story:
    story = upgrading()
    story.removed(300)
    return story


STORIES: list[Callable[[], Story]] = [upgrading, _failed, _two_channels, _removed]


@pytest.mark.parametrize("tell", STORIES)
def test_a_device_made_compact_is_the_device_that_was_read(tell: Callable[[], Story]) -> None:
    device = tell().known
    store = Store(0)
    store.put(device.state.device_id, *encode_device(device, 5))
    as_read = store.get(device.state.device_id)

    assert store.compact(10) is False

    assert store.get(device.state.device_id) == as_read == device


def test_devices_of_different_accounts_and_products_stay_apart() -> None:
    store = Store(0)
    known = {}
    for number in range(6):
        story = Story(device_id=f"d{number}")
        story.answer(
            0, "idle", now="1.0", account=f"a{number % 2}", product_id=[None, "p1", "p2"][number % 3]
        )
        known[story.device_id] = story.known
        store.put(story.device_id, *encode_device(story.known, None))
    store.compact(100)

    assert {device_id: store.get(device_id) for device_id in store.device_ids()} == known


def test_a_device_is_the_same_after_it_left_the_decoded_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "DECODED_DEVICES", 2)
    store = Store(0)
    devices = {f"d{number}": _known(f"d{number}") for number in range(5)}
    for device_id, device in devices.items():
        store.keep(device_id, device)

    assert len(store) == 5
    assert len(store._decoded) == 2
    assert {device_id: store.get(device_id) for device_id in devices} == devices


def test_a_record_read_after_a_commit_replaces_the_decoded_device() -> None:
    story = upgrading()
    store = Store(0)
    store.keep("d1", story.known)
    story.progress(120, 50)
    store.put("d1", *encode_device(story.known, None))

    assert store.get("d1") == story.known


def test_a_removed_device_is_gone_in_every_form() -> None:
    store = Store(0)
    store.keep("d1", _known("d1"))
    store.put("d2", *encode_device(_known("d2"), None))
    store.remove("d1")
    store.remove("d2")
    store.compact(10)

    assert store.get("d1") is store.get("d2") is None
    assert len(store) == 0


def test_a_state_that_cannot_be_read_is_kept_as_it_is() -> None:
    store = Store(0)
    store.put("odd", b'{"status":"paused_by_vendor"}', [])
    store.put("good", *encode_device(_known("good"), None))

    assert store.compact(10) is False

    assert store.get("good") == _known("good")
    with pytest.raises(Exception, match="paused_by_vendor"):
        store.get("odd")


def test_a_damaged_state_or_key_stops_neither_a_restore_nor_the_forgetting_of_offsets() -> None:
    store = Store(0)
    store.put("damaged", b'{"account":"\xff"}', [])

    store.forget_offsets()
    record = SimpleNamespace(key=b"\xff", value=b"{}", headers=(), offset=7)

    assert not store.take(record)
    assert store.device_ids() == ["damaged"]


def test_forgetting_offsets_reaches_every_device() -> None:
    store = Store(0)
    for number, device in enumerate([_known("d0"), _known("d1"), _known("d2")]):
        device.book.offset = 40 + number
        store.put(f"d{number}", *encode_device(device, None))
    store.compact(1)
    store.keep("d0", _known("d0"))
    store.forget_offsets()

    assert [device.book.offset for device in map(store.get, ["d0", "d1", "d2"]) if device is not None] == [
        -1
    ] * 3


def _known(device_id: str) -> Device:
    story = Story(device_id=device_id)
    story.answer(0, "idle", now="1.0")
    return story.known
