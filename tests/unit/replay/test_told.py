"""What is kept of the public log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from bridge.fold.encoding import encode_event
from bridge.fold.events import TypedEvent
from bridge.replay.told import ToldLog
from tests.unit.fold.story import Story, ms


def record(typed: TypedEvent) -> Any:
    key, value, headers = encode_event(typed)
    return SimpleNamespace(key=key, value=value, headers=headers)


def log_of(*stories: Story) -> ToldLog:
    log = ToldLog()
    for story in stories:
        for event_type, event in story.events:
            log.take(record(TypedEvent(f"ota.{event_type}", event)))  # type: ignore[arg-type]
    return log


def test_a_devices_events_are_told_in_order_with_who_made_them() -> None:
    story, other = Story(), Story(device_id="d2")
    story.push(100, "downloading")
    other.push(100, "installing")
    story.wait(1900)
    story.push(1910, "installing", channel="0")

    told = list(log_of(story, other).of("d1").after(0))

    assert [(event.kind.label, event.kind.by_timer) for event in told] == [
        ("status_changed downloading", False),
        ("stalled downloading", True),
        ("resumed downloading", False),
        ("status_changed installing", False),
    ]
    assert [event.at_ms for event in told] == [ms(100), ms(1900), ms(1910), ms(1910)]
    assert {event.kind.channel for event in told} == {"0"}


def test_what_follows_a_revision_is_found_and_nothing_of_a_device_that_was_not_told_of() -> None:
    story = Story()
    story.push(100, "downloading")
    story.push(110, "installing")
    log = log_of(story)
    first, second = log.of("d1").after(0)

    assert log.of("d1").next_after(first.revision) == second
    assert log.of("d1").next_after(second.revision) is None
    assert log.of("nobody").next_after(0) is None
