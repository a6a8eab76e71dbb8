"""What differs between two states of one device, field by field, and which rules decide those fields. Pure.

Left out is what follows from the rest: `phase` from the status, `attempt_id` from the attempt's number; and
`updated_at_ms`, which every input sets, also a timer that only asks for a lookup.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from schemas import Attempt, Channel, UpgradeState

LEFT_OUT: Final = frozenset({"device_id", "updated_at_ms", "phase", "attempt_id"})

RULES: Final[dict[str, tuple[str, ...]]] = {
    "cloud": ("R20",),
    "account": ("R20",),
    "product_id": (),
    "device": (),
    "online": ("R9",),
    "revision": (),
    "removed_at_ms": ("R10",),
    "status": ("R3", "R4", "R5", "R6", "R7", "R19"),
    "claimed": ("R5",),
    "stalled": ("R8",),
    "needs_confirmation": (),
    "current_version": ("R2", "R13"),
    "available_version": ("R19",),
    "outcome": ("R3", "R5", "R6", "R7", "R19"),
    "reason": ("R5", "R6", "R19"),
    "confirmed": ("R5", "R7"),
    "vendor_status": ("R11",),
    "last_evidence": (),
    "changed_at_ms": (),
    "observed_at_ms": (),
    "attempt": ("R3",),
    "attempt.number": ("R3",),
    "attempt.task_id": ("R3",),
    "attempt.package": ("R3",),
    "attempt.from_version": ("R3",),
    "attempt.target_version": ("R3",),
    "attempt.progress": ("R4",),
    "attempt.retries": ("R4",),
    "attempt.started_at_ms": ("R3",),
    "attempt.pending_at_ms": ("R4",),
    "attempt.downloading_at_ms": ("R4",),
    "attempt.installing_at_ms": ("R4",),
    "attempt.verifying_at_ms": ("R5",),
    "attempt.finished_at_ms": ("R5", "R7"),
    "channel": ("R3", "R11"),
    "state": ("R10", "R20"),
}
"""By field, the rules (docs/rules.md) that decide it. `channel` and `state`: there is one, or there is none.

Which of them it was cannot be told from two states. R1 and R2, which decide what counts at all, may be behind each.
"""


class Difference(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One field that differs; `channel` is absent for the device's own. What a state does not have is absent."""

    field: str
    channel: str | None = None
    published: Any = None
    replayed: Any = None

    @property
    def is_side_effect(self) -> bool:
        """Whether the field follows from how often and when a device changed, not from what it shows."""
        return is_side_effect(self.field)


def is_side_effect(field: str) -> bool:
    """Whether a field follows from how often and when a device changed, not from what it shows."""
    if field == "removed_at_ms":
        return False
    return field in ("revision", "last_evidence") or field.endswith("_at_ms")


def differences(published: UpgradeState | None, replayed: UpgradeState | None) -> tuple[Difference, ...]:
    """Return what differs; None where there is no state (a tombstone, or nothing was ever known)."""
    if published is None or replayed is None:
        if published is replayed:
            return ()
        shown = (None if state is None else state.status for state in (published, replayed))
        return (Difference(field="state", published=next(shown), replayed=next(shown)),)

    if published == replace(replayed, updated_at_ms=published.updated_at_ms):
        return ()

    return (*_of_device(published, replayed), *_of_channels(published, replayed))


def are_timers_times(found: tuple[Difference, ...]) -> bool:
    """Whether only those times differ that a timer sets when it changes a channel."""
    return all(each.field in ("changed_at_ms", "observed_at_ms") for each in found)


def telling(found: tuple[Difference, ...]) -> tuple[str, ...]:
    """Return the fields by which differences are grouped: times and counters only where nothing else differs."""
    names = {each.field for each in found if not each.is_side_effect}
    return tuple(sorted(names or {each.field for each in found}))


def rules_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the rules that decide these fields, in their order."""
    rules = {rule for name in names for rule in RULES.get(name, ())}
    return tuple(sorted(rules, key=lambda rule: int(rule[1:])))


def transition(published: UpgradeState | None, replayed: UpgradeState | None) -> tuple[str, str]:
    """Return the statuses of the first channel whose status differs, else the device's; `none` without a state."""
    if published is not None and replayed is not None:
        others = {channel.channel: channel for channel in replayed.channels}
        for channel in published.channels:
            other = others.get(channel.channel)
            if other is not None and other.status != channel.status:
                return channel.status, other.status
    return _status(published), _status(replayed)


def _status(state: UpgradeState | None) -> str:
    return "none" if state is None else state.status


def _of_device(published: UpgradeState, replayed: UpgradeState) -> Iterator[Difference]:
    for name in UpgradeState.__struct_fields__:
        if name != "channels":
            yield from _of_field(name, None, published, replayed)


def _of_channels(published: UpgradeState, replayed: UpgradeState) -> Iterator[Difference]:
    before = {channel.channel: channel for channel in published.channels}
    after = {channel.channel: channel for channel in replayed.channels}
    for name in sorted({*before, *after}):
        mine, other = before.get(name), after.get(name)
        if mine is None or other is None:
            yield Difference(
                field="channel",
                channel=name,
                published=None if mine is None else mine.status,
                replayed=None if other is None else other.status,
            )
        elif mine != other:
            yield from _of_channel(name, mine, other)


def _of_channel(name: str, published: Channel, replayed: Channel) -> Iterator[Difference]:
    for field in Channel.__struct_fields__:
        if field != "attempt" or published.attempt is None or replayed.attempt is None:
            yield from _of_field(field, name, published, replayed)
            continue
        for inner in Attempt.__struct_fields__:
            yield from _of_field(inner, name, published.attempt, replayed.attempt, prefix="attempt.")


def _of_field(
    name: str, channel: str | None, published: Struct, replayed: Struct, *, prefix: str = ""
) -> Iterator[Difference]:
    mine, other = getattr(published, name), getattr(replayed, name)
    if mine != other and name not in LEFT_OUT:
        yield Difference(field=f"{prefix}{name}", channel=channel, published=mine, replayed=other)
