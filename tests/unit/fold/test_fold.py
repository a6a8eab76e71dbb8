"""R17 and the shape of what the fold publishes."""

from __future__ import annotations

import msgspec
import pytest

from bridge.fold.bookkeeping import Bookkeeping, decode_bookkeeping, encode_bookkeeping
from bridge.fold.device import device_status
from bridge.fold.encoding import encode_device, encode_event, pack, read_resume, unpack
from bridge.fold.events import TypedEvent
from bridge.fold.policy import Policy
from schemas import STATUSES, UpgradeEvent, UpgradeState
from tests.unit.fold.story import Story, upgrading


def tell(story: Story) -> list[bytes]:
    """A story with most of what can happen; returns every byte it publishes."""
    story.answer(0, "available", now="1.0", offer="1.1")
    story.push(100, "pending")
    story.push(101, "downloading")
    story.progress(102, 35)
    story.run_timers(104)
    story.answer(105, "installing", now="1.0", offer="1.1")
    story.answered(105)
    story.claim(130, "failed", "low_battery")
    story.online(140)
    story.run_timers(4000)
    story.answer(4100, "idle", now="1.1")
    story.removed(5000)
    value, headers = encode_device(story.known, 7)
    published = [value, *(header for _, header in headers)]
    for event_type, event in story.events:
        _, event_value, event_headers = encode_event(TypedEvent("ota." + event_type, event))
        published += [event_value, *(header for _, header in event_headers)]
    return published


def test_the_same_inputs_give_the_same_states_and_events_byte_for_byte() -> None:
    assert tell(Story()) == tell(Story())


def test_folding_never_changes_the_device_it_was_given() -> None:
    story = upgrading()
    before = story.known
    packed = pack(*encode_device(before, None))

    story.claim(120, "failed")
    story.progress(121, 50)

    assert pack(*encode_device(before, None)) == packed


def test_a_device_survives_its_encoding() -> None:
    story = upgrading()
    story.claim(120, "failed", "no_space")

    value, headers = encode_device(story.known, 123)

    assert unpack(pack(value, headers)) == story.known
    assert read_resume(headers).timer_at_ms == 123
    assert msgspec.json.decode(value, type=UpgradeState) == story.known.state


def test_a_state_without_bookkeeping_is_restored_and_looked_up() -> None:
    value, _ = encode_device(upgrading().known, None)

    device = unpack(pack(value, []))

    assert device.book.due_at_ms == 0
    assert device.state.status == "installing"
    assert read_resume([]).timer_at_ms == 0


def test_bookkeeping_of_another_version_is_taken_for_missing() -> None:
    foreign = encode_bookkeeping(Bookkeeping(version=99))

    assert decode_bookkeeping(foreign).due_at_ms == 0
    assert decode_bookkeeping(b"\xc1not msgpack").due_at_ms == 0


def test_a_channel_without_bookkeeping_still_folds() -> None:
    story = upgrading()
    value, _ = encode_device(story.known, None)
    story.device = unpack(pack(value, []))

    story.wait(200)
    story.answer(210, "succeeded", now="1.1")

    assert story.status == "succeeded"


def test_a_claim_without_bookkeeping_still_meets_its_deadline() -> None:
    story = upgrading()
    story.claim(200, "failed")
    value, _ = encode_device(story.known, None)
    story.device = unpack(pack(value, []))

    story.wait(200 + story.policy.claim_deadline_s)

    assert story.status == "failed"


def test_an_event_carries_its_cloudevents_attributes() -> None:
    story = upgrading()
    event_type, event = story.events[-1]

    _, value, headers = encode_event(TypedEvent("ota." + event_type, event))

    attributes = dict(headers)
    assert attributes["ce_specversion"] == b"1.0"
    assert attributes["ce_id"] == f"d1/{event.revision}".encode()
    assert attributes["ce_type"] == b"ota.upgrade.status_changed"
    assert attributes["ce_source"] == b"/tuya-cloud/home"
    assert attributes["ce_time"] == b"2023-11-14T22:15:00.000Z"
    assert msgspec.json.decode(value, type=UpgradeEvent) == event
    assert b"null" not in value


def test_events_left_out_by_configuration_take_no_revision_but_change_the_state() -> None:
    story = Story(Policy(events_exclude=("ota.upgrade.progressed",)))
    story.push(100, "downloading")
    story.progress(101, 50)
    story.push(102, "installing")

    revisions = [event.revision for _, event in story.events]
    assert story.types == ["status_changed", "status_changed"]
    assert revisions[1] == revisions[0] + 1
    assert story.channel().attempt.progress == 50


@pytest.mark.parametrize(("step", "told"), [(10, [0, 12, 20]), (0, []), (1, [0, 5, 9, 12, 20])])
def test_progress_is_told_in_steps_and_kept_in_full(step: int, told: list[int]) -> None:
    story = Story(Policy(progress_step=step))
    story.push(100, "downloading")
    for percent in (0, 5, 9, 12, 20):
        story.progress(101 + percent, percent)

    assert [event.progress for kind, event in story.events if kind == "upgrade.progressed"] == told
    assert story.channel().attempt.progress == 20


def test_the_devices_status_is_that_of_its_most_telling_channel() -> None:
    story = Story()
    story.answer(0, "succeeded", now="1.0", channel="0")
    story.answer(0, "failed", now="1.0", channel="9")
    with_failure = story.known.state.status
    story.push(100, "installing", channel="0")

    assert (with_failure, story.known.state.status) == ("failed", "installing")
    assert [channel.channel for channel in story.known.state.channels] == ["0", "9"]


def test_every_status_has_its_place_in_the_devices_status() -> None:
    channel = upgrading().channel()

    for status in STATUSES:
        assert device_status((msgspec.structs.replace(channel, status=status),)) == status
    assert device_status(()) == "unknown"


def test_names_are_kept_only_when_the_configuration_asks_for_them() -> None:
    silent, asked = Story(), Story(Policy(device_names=True))
    for story in (silent, asked):
        story.answer(0, "idle", now="1.0")
        story.tell(1, kind="lifecycle", lifecycle="renamed", name="Lamp", origin="push", channel=None)

    assert silent.known.state.device is None
    assert asked.known.state.device.name == "Lamp"
