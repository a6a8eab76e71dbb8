"""Judges what was told of one history against the truth: states, attempts too many and too few, lookups."""

from __future__ import annotations

from random import Random

from msgspec import Struct

from bridge.fold.policy import Policy
from schemas import Channel
from tests.chaos.histories.history import ChannelLife, History
from tests.chaos.histories.knowable import why_unknowable
from tests.chaos.histories.plan import plan_history
from tests.chaos.histories.telling import Telling, Told
from tests.chaos.histories.weather import Weather


class Judged(Struct, frozen=True, kw_only=True):
    """One history. Wrong and unknowable ends with the kind of their upgrade and what they are."""

    number: int
    upgrades: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]
    unknowable: tuple[tuple[str, str], ...]
    phantoms: int
    merged: int
    lookups: tuple[int, ...]
    periodic: int


def judge(seed: int, number: int, weather: Weather, policy: Policy) -> Judged:
    """Make a history, tell it, and compare."""
    history = plan_history(seed, number)
    told = tell(history, seed, number, weather, policy)
    shown = {} if told.device is None else {each.channel: each for each in told.device.state.channels}
    wrong: list[tuple[str, str]] = []
    unknowable: list[tuple[str, str]] = []
    phantoms = merged = 0
    for channel in history.channels.values():
        found = shown.get(channel.name)
        attempts = 0 if found is None or found.attempt is None else found.attempt.number
        phantoms += max(0, attempts - len(channel.upgrades))
        merged += max(0, len(channel.upgrades) - attempts)
        difference = _difference(channel, found)
        if difference is None:
            continue
        kind = channel.upgrades[-1].kind if channel.upgrades else "none"
        secret = why_unknowable(channel, told, found)
        (wrong if secret is None else unknowable).append((kind, secret or difference))
    return Judged(
        number=number,
        upgrades=tuple(upgrade.kind for upgrade in history.upgrades),
        wrong=tuple(wrong),
        unknowable=tuple(unknowable),
        phantoms=phantoms,
        merged=merged,
        lookups=_lookups(history, told),
        periodic=sum(cause == "periodic" for _, cause in told.lookups),
    )


def tell(
    history: History, seed: int, number: int, weather: Weather, policy: Policy, *, keeps_log: bool = False
) -> Told:
    """Fold a history in a weather, always the same."""
    rng = Random(f"{seed}/{number}/{weather.name}")
    return Telling(history, weather, rng, policy, keeps_log=keeps_log).run()


def _difference(channel: ChannelLife, found: Channel | None) -> str | None:
    if found is None:
        return "channel missing"
    if found.current_version != channel.version:
        return f"version {found.current_version} for {channel.version}"
    if not channel.upgrades:
        return None if found.status in ("idle", "available") else f"{found.status} without an upgrade"
    upgrade = channel.upgrades[-1]
    if upgrade.kind == "stuck":
        # R4: Tuya's 2, which the API tells, covers the download too.
        is_true = found.status in ("downloading", "installing") and found.stalled
    elif upgrade.status == "available":
        is_true = found.status == "available" and found.outcome == "succeeded"
    else:
        is_true = found.status == upgrade.status
    return None if is_true else f"{found.status}{'' if found.confirmed else '?'} for {upgrade.status}"


def _lookups(history: History, told: Told) -> tuple[int, ...]:
    """Lookups between the beginning of each upgrade and the device's next; without those nobody waits for."""
    begins = [upgrade.began_s for upgrade in history.upgrades]
    counts = [0] * len(begins)
    for at_s, cause in told.lookups:
        begun = sum(began_s <= at_s for began_s in begins)
        if begun and cause != "periodic":
            counts[begun - 1] += 1
    return tuple(counts)
