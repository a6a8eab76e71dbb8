"""The fold: `fold(device, input, policy)` says what one observation, or one timer, makes of one device. Pure.

The rules, by where they are written; numbers are those of docs/rules.md. A *push* comes from the gateway, an
*answer* from a lookup or a sweep of the cloud's API.

* What counts at all, here: R15 a gap makes every device of the account asked about; R20 a device belongs to
  one account; R1 duplicates are dropped; R11 unknown values change no status; R2 of late pushes and early or
  stale answers only that is taken which cannot harm.
* Attempts, `attempts.py`: R3 what opens an attempt; R4 status and progress only rise in it; R19 rest statuses
  (`idle`, `available`) never close one alone.
* Outcomes, `outcomes.py`: R5 a pushed outcome is only a *claim*: the attempt stays open as `verifying`, and
  the cloud is asked until its versions, or a terminal status of its own, settle it, or a deadline comes. R6 a
  claim of success with the old version still running at the deadline becomes `failed`, reason
  `version_mismatch`, if the device was online after the claim; in every other case a claim is *adopted*:
  shown as the outcome, unconfirmed, and asked about again in time. R7 an outcome is final within its attempt,
  unless versions prove a success or a confirmed one replaces an unconfirmed one; R13 versions that change
  without an attempt.
* Waiting, `waiting.py`: R8 what time does to an attempt. `lookups.py`: R9 online devices and hints make a
  lookup due, R14 one at a time, R16 a failed one is no failed upgrade, R18 periodic ones. `removal.py`: R10
  devices that go, their open attempts with them, and return.
* R21: where a rule raises all the same, `batch.py` leaves the device as it was and makes a dead letter of the
  input.

No clock, no I/O, no randomness: the same inputs give the same states and events, byte for byte (R17).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from bridge.fold import attempts, lookups, removal, waiting
from bridge.fold.bookkeeping import Bookkeeping, SourceMark
from bridge.fold.channel import ChannelTurn
from bridge.fold.clock import asked_at, pushed_at
from bridge.fold.device import Device
from bridge.fold.events import TypedEvent
from bridge.fold.turn import Turn
from bridge.fold.versions import learn_versions, names_another, version_proof
from schemas import Evidence, LookupRequest, Observation, UpgradeState

if TYPE_CHECKING:
    from bridge.fold.policy import Policy


_MOST_CONFLICTS: Final = 8
"""R20: other accounts that a device's bookkeeping remembers having reported."""


class TimerFired(Struct, frozen=True):
    """The input that is not an observation: a device's timer is due. `now_ms` is the bridge's clock.

    `asks_in_background` False: it is not this device's turn for a lookup that nobody waits for (R14).
    """

    now_ms: int
    asks_in_background: bool = True


class Refusal(Struct, frozen=True):
    """An input that becomes a dead letter, with its reason and what to tell the operator."""

    reason: str
    detail: str


class Folded(Struct, frozen=True, gc=False):
    """What an input made of a device.

    `device` is the given object itself where nothing changed, and None for a tombstone.
    """

    device: Device | None
    events: tuple[TypedEvent, ...] = ()
    lookup: LookupRequest | None = None
    dead_letter: Refusal | None = None
    counts: tuple[str, ...] = ()


def fold(device: Device | None, given: Observation | TimerFired, policy: Policy) -> Folded:
    """Fold one input into one device (None: not known yet). Raises nothing that the rules expect; see R21."""
    if isinstance(given, TimerFired):
        return _fold_timer(device, given, policy)

    return _fold_observation(device, given, policy)


def _fold_timer(device: Device | None, timer: TimerFired, policy: Policy) -> Folded:
    if device is None:
        return Folded(None)

    if removal.is_tombstone_due(device, timer.now_ms, policy):
        return Folded(None, counts=("tombstone",))

    turn = Turn(device, policy, timer.now_ms, None, Evidence(origin="bridge", name="timer"))
    waiting.on_timer(turn, asks_in_background=timer.asks_in_background)
    return _folded(turn)


def _fold_gap(device: Device | None, observation: Observation, policy: Policy) -> Folded:
    """R15, for one of the account's devices. Nothing is known of it by this: only its bookkeeping changes."""
    if device is None or device.state.account != observation.account:
        return Folded(device)

    turn = Turn(
        device, policy, observation.observed_at_ms, observation, Evidence(origin="bridge", name="gap")
    )
    lookups.on_gap(turn)
    if (turn.book.due_at_ms, turn.book.due_cause) == (device.book.due_at_ms, device.book.due_cause):
        return Folded(device)

    return Folded(replace(device, book=turn.book), counts=("gap_device",))


def _fold_observation(device: Device | None, observation: Observation, policy: Policy) -> Folded:
    if observation.kind == "gap":
        return _fold_gap(device, observation, policy)

    evidence = _published(observation.evidence)
    if device is None:
        if not _introduces(observation):
            return Folded(None, counts=("unknown_device",))
        device = _new_device(observation)
    elif observation.account != device.state.account:
        return _account_conflict(device, observation)

    turn = Turn(device, policy, observation.observed_at_ms, observation, evidence)
    if _came_before(turn, observation):
        return Folded(device, counts=tuple(turn.counts))

    if turn.state.removed_at_ms is not None:
        if not removal.returns(turn, observation):
            return Folded(device, counts=("after_removal",))
        if evidence.origin == "sweep":
            lookups.on_hint(turn)
            return _folded(turn)

    if evidence.origin == "sweep" and turn.book.not_found_at_ms is not None:
        return Folded(device, counts=("listed_not_found",))

    if observation.kind == "hint" and evidence.origin == "sweep" and _is_known(device):
        # Discovery announces every device at each start; those we know are asked about in their own time (R18).
        return Folded(device, counts=("announced",))

    if turn.state.product_id is None and observation.product_id is not None:
        turn.state = replace(turn.state, product_id=observation.product_id)

    if evidence.origin == "push":
        # R10: what speaks is there, whatever the API finds.
        turn.book.not_found_at_ms = None
    _apply(turn, observation)
    return _folded(turn)


def _folded(turn: Turn) -> Folded:
    return Folded(turn.finish(), tuple(turn.events), turn.lookup, counts=tuple(turn.counts))


def _published(evidence: Evidence) -> Evidence:
    """Return evidence as states and events carry it: without the vendor's JSON."""
    if type(evidence) is Evidence:
        return evidence

    return Evidence(origin=evidence.origin, name=evidence.name, position=evidence.position)


def _is_known(device: Device) -> bool:
    return bool(device.state.channels) and device.state.removed_at_ms is None


def _introduces(observation: Observation) -> bool:
    """That a lookup found nothing about a device nobody told us of, or its removal, does not make it known."""
    return observation.kind != "answer" and observation.lifecycle != "removed"


def _new_device(observation: Observation) -> Device:
    """A revision starts at the first `observed_at_ms`, so a device that returns goes on at a higher one."""
    now_ms = observation.observed_at_ms
    state = UpgradeState(
        device_id=observation.device_id,
        cloud=observation.cloud,
        account=observation.account,
        product_id=observation.product_id,
        revision=now_ms,
        updated_at_ms=now_ms,
        status="unknown",
        channels=(),
    )
    return Device(state, Bookkeeping())


def _account_conflict(device: Device, observation: Observation) -> Folded:
    """R20: another account's observation changes nothing; it is counted, and reported once per other account.

    The end of a lookup is no report: whoever asked the wrong account was answered that it has no such device.
    """
    reported = device.book.foreign_accounts
    if observation.kind == "answer" or observation.account in reported or len(reported) >= _MOST_CONFLICTS:
        return Folded(device, counts=("foreign_account",))

    return Folded(
        replace(device, book=replace(device.book, foreign_accounts=(*reported, observation.account))),
        dead_letter=Refusal(
            "id_conflict",
            f"Device {observation.device_id} belongs to account {device.state.account!r}, but account "
            f"{observation.account!r} reported it too. Configure each device's cloud project once.",
        ),
        counts=("foreign_account",),
    )


def _came_before(turn: Turn, observation: Observation) -> bool:
    """R1: a push at or before the last applied position of its source partition is a redelivery. Notes a later one.

    Unless its publish time is later than every one applied from there: then the platform was rebuilt.
    """
    position = observation.evidence.position
    if position is None or observation.evidence.origin != "push":
        return False

    place = (position.ledger, position.entry, position.batch_index)
    mark = turn.book.marks.get(position.partition)
    latest_ms = position.publish_time_at_ms
    if mark is not None:
        if place <= (mark.ledger, mark.entry, mark.batch_index):
            if latest_ms <= mark.publish_time_at_ms:
                turn.count("duplicate")
                return True
            turn.count("position_reset")
        latest_ms = max(latest_ms, mark.publish_time_at_ms)

    turn.book.marks = {**turn.book.marks, position.partition: SourceMark(*place, latest_ms)}
    return False


def _apply(turn: Turn, observation: Observation) -> None:
    """Hand the observation to the rules of its kind. A kind this release does not know changes nothing (R11)."""
    kind = observation.kind
    is_push = observation.evidence.origin == "push"
    if kind == "answer":
        lookups.on_answer(turn, observation)
    elif kind == "lifecycle":
        waiting.on_lifecycle(turn, observation)
    elif kind == "hint":
        lookups.on_hint(turn)
    elif kind in ("status", "versions", "progress"):
        channel = _channel_of(turn, observation)
        if channel is None:
            turn.count("channel_unknown")
            lookups.on_hint(turn)
        elif kind == "progress" and is_push:
            attempts.on_pushed_progress(channel, observation)
        elif is_push and observation.status is not None:
            _on_pushed_status(channel, observation)
        elif is_push:
            lookups.on_hint(turn)
        else:
            _on_answered(channel, observation)
    else:
        turn.count("unknown_kind")

    lookups.introduce(turn)


def _channel_of(turn: Turn, observation: Observation) -> ChannelTurn | None:
    """A missing channel is the device's only one."""
    if observation.channel is not None:
        return turn.channel(observation.channel)

    known = turn.state.channels
    return turn.channel(known[0].channel) if len(known) == 1 else None


def _on_pushed_status(channel: ChannelTurn, observation: Observation) -> None:
    """R2, pushes: one before the last applied answer opens nothing and moves no terminal status.

    In an attempt that it does not precede it still raises or claims; otherwise it is a hint, or too old to matter.
    One that clearly follows the claim with which the last attempt ended is no such push: it opens the next.
    """
    turn, policy, book = channel.turn, channel.turn.policy, channel.book
    at_ms = pushed_at(observation)
    if attempts.precedes_attempt(channel, at_ms):
        turn.count("push_before_attempt")
        lookups.on_hint(turn)
    elif book.answered_at_ms is not None and at_ms < book.answered_at_ms:
        if channel.open_attempt is not None:
            attempts.on_pushed_status(channel, observation, at_ms, is_late=True)
        elif (
            observation.claimed is None
            and book.answered_at_ms - at_ms < 2 * policy.api_lag_s * 1000
            and attempts.follows_claim(channel, at_ms)
        ):
            attempts.on_pushed_status(channel, observation, at_ms, is_late=False)
        elif book.answered_at_ms - at_ms <= policy.late_push_hint_s * 1000:
            turn.count("late_push")
            lookups.on_hint(turn)
        else:
            turn.count("stale_push")
    else:
        attempts.on_pushed_status(channel, observation, at_ms, is_late=False)


def _on_answered(channel: ChannelTurn, observation: Observation) -> None:
    """R2, answers: one asked before the last applied answer contributes nothing.

    An early one, asked before or too soon after the last applied pushed status, tells only versions, which may prove a
    success: the cloud's API lags its pushes. Another lookup follows, later for each early answer in a row.
    """
    turn, policy, book = channel.turn, channel.turn.policy, channel.book
    asked_at_ms = asked_at(observation)
    if book.answered_at_ms is not None and asked_at_ms < book.answered_at_ms:
        turn.count("stale_answer")
        return

    if book.pushed_at_ms is not None and asked_at_ms < book.pushed_at_ms + policy.clock_margin_s * 1000:
        turn.count("early_answer")
        learn_versions(channel, observation)
        attempt = channel.open_attempt
        is_named = attempt is not None and attempt.target_version is not None
        # Where it is about another attempt, what the last push told may be that one's.
        if is_named and version_proof(channel, observation) and not names_another(channel, observation):
            channel.settle("succeeded", asked_at_ms, confirmed=True)
        turn.want_lookup(policy.stale_lookup_s * 2 ** min(book.early_answers, 8), "new_attempt")
        book.early_answers += 1
        return

    book.answered_at_ms = asked_at_ms
    book.early_answers = 0
    was_unclaimed = channel.open_attempt is not None and channel.shown.claimed is None
    attempts.on_answered(channel, observation, asked_at_ms)
    if was_unclaimed and channel.open_attempt is None:
        lookups.on_unclaimed_end(channel, asked_at_ms)
