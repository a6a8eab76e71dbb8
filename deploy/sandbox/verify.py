"""Compares what the bridge published with what the simulated clouds know to be true.

State equals truth means: per channel the same status, and the same running version where both know one; a device at
rest may be missing. Events are whole when each device's revisions rise by one, without a hole or a repeat, and end at
the state's. Attempts are counted: none may be told that a device never began, fewer may where pushes were lost. Pure
functions, and one loop that waits for the first of them to be true.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
from msgspec import Struct

from deploy.sandbox.public_topics import PublicRecord, StateTable

_AT_REST = frozenset({"idle", "available"})
_PRECEDENCE = (
    "installing",
    "verifying",
    "downloading",
    "pending",
    "failed",
    "timed_out",
    "cancelled",
    "unknown",
    "available",
    "succeeded",
    "idle",
)
"""A device's status is that of its most interesting channel."""
_ROWS = (*_PRECEDENCE, "removed", "(missing)")
_COMPARE_PERIOD_S = 1.0

Truth = Mapping[str, Any]
State = Mapping[str, Any]


class Difference(Struct, frozen=True, kw_only=True):
    """One thing about one device that the state table shows otherwise than it is."""

    device_id: str
    what: str
    truth: str
    state: str

    def __str__(self) -> str:
        return f"{self.device_id} {self.what}: truth {self.truth}, state {self.state}"


class Comparison(Struct, frozen=True, kw_only=True):
    """How many of the devices are shown as they are; `by_status` counts devices: (truth, state).

    A removed device counts as `removed`. One that is missing and may be counts as it is.
    """

    devices: int
    equal: int
    differences: tuple[Difference, ...]
    by_status: dict[str, tuple[int, int]]

    @property
    def all_equal(self) -> bool:
        """Whether state equals truth for every device, and shows no device that does not exist."""
        return not self.differences

    def __str__(self) -> str:
        return f"truth == state: {self.equal}/{self.devices}"


class AttemptCount(Struct, frozen=True, kw_only=True):
    """How the attempts that were told compare with those that the devices began.

    `phantom` are attempts too many. `merged` are attempts too few: two that were told as one, or one that had ended
    before anybody looked. Each list has a sentence for every channel concerned.
    """

    began: int
    phantom: int = 0
    merged: int = 0
    phantoms: tuple[str, ...] = ()
    merges: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"phantom attempts: {self.phantom}, merged attempts: {self.merged}"


def compare_truth_and_state(truths: Iterable[Truth], states: Mapping[str, State]) -> Comparison:
    """Compare every device of the truth with the state table, and find states of devices that do not exist."""
    differences: list[Difference] = []
    counts: dict[str, Counter[str]] = {"truth": Counter(), "state": Counter()}
    known = set()
    equal = 0
    for truth in truths:
        device_id = truth["device_id"]
        known.add(device_id)
        state = states.get(device_id)
        found = list(_differences(truth, state))
        equal += not found
        differences += found
        counts["truth"][_device_status(truth)] += 1
        counts["state"][_shown_status(truth, state, may_be_missing=not found)] += 1
    for device_id in sorted(set(states) - known):
        differences.append(
            Difference(device_id=device_id, what="device", truth="unknown", state=states[device_id]["status"])
        )
    rows = [status for status in _ROWS if any(count[status] for count in counts.values())]
    return Comparison(
        devices=len(known),
        equal=equal,
        differences=tuple(differences),
        by_status={status: (counts["truth"][status], counts["state"][status]) for status in rows},
    )


def find_broken_revisions(
    events: Sequence[PublicRecord], states: Mapping[str, State] | None = None
) -> list[str]:
    """Return a sentence for every hole, repeat or stray in the devices' revisions; an empty list is the proof.

    `events` are all events of the topic, each partition's in its order. With `states`, the last event of a device
    has to carry its state's revision.
    """
    broken: list[str] = []
    last: dict[str, int] = {}
    partitions: dict[str, int] = {}
    for event in events:
        where = f"{event.key} at {event.partition}:{event.offset}"
        if event.value is None:
            broken.append(f"{where}: an event without a value")
            continue
        device_id, revision = event.value["device_id"], event.value["revision"]
        if event.key != device_id or event.headers.get("ce_id") != f"{device_id}/{revision}":
            broken.append(f"{where}: key, ce_id and value name different things")
        if partitions.setdefault(device_id, event.partition) != event.partition:
            broken.append(f"{where}: earlier events are in partition {partitions[device_id]}")
        before = last.get(device_id)
        if before is not None and revision != before + 1:
            kind = "a repeat" if revision <= before else "a hole"
            broken.append(f"{where}: revision {before} is followed by {revision}, {kind}")
        last[device_id] = revision
    for device_id, state in (states or {}).items():
        if last.get(device_id) != state["revision"]:
            broken.append(
                f"{device_id}: the last event's revision is {last.get(device_id)}, the state's {state['revision']}"
            )
    return broken


def count_attempts(
    truths: Iterable[Truth], states: Mapping[str, State], events: Iterable[PublicRecord]
) -> AttemptCount:
    """Compare the truth's number of attempts with the state's `attempt.number` and with the attempts of the events.

    Where state and events differ, the one further from the truth counts.
    """
    told: dict[tuple[str, str], set[str]] = {}
    for event in events:
        value = event.value or {}
        if "attempt" in value and "channel" in value:
            told.setdefault((event.key, value["channel"]), set()).add(value["attempt"]["attempt_id"])
    numbers = {
        (device_id, channel["channel"]): int(channel["attempt"]["number"])
        for device_id, state in states.items()
        for channel in state["channels"]
        if "attempt" in channel
    }
    began = {
        (truth["device_id"], channel["channel"]): int(channel["attempts"])
        for truth in truths
        for channel in truth["channels"]
    }
    phantom = merged = 0
    phantoms: list[str] = []
    merges: list[str] = []
    for where in sorted(began.keys() | numbers.keys() | told.keys()):
        true, number, in_events = began.get(where, 0), numbers.get(where, 0), len(told.get(where, ()))
        device_id, channel = where
        sentence = (
            f"{device_id} channel {channel}: attempts began {true}, in the state {number}, "
            f"in the events {in_events}"
        )
        if (excess := max(number, in_events) - true) > 0:
            phantom += excess
            phantoms.append(sentence)
        if (missing := true - min(number, in_events)) > 0:
            merged += missing
            merges.append(sentence)
    return AttemptCount(
        began=sum(began.values()),
        phantom=phantom,
        merged=merged,
        phantoms=tuple(phantoms),
        merges=tuple(merges),
    )


async def read_truth(control_url: str, account: str | None = None) -> list[dict[str, Any]]:
    """Ask the sandbox for the truth about an account's devices, or all."""
    parameters = {} if account is None else {"account": account}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        answer = await client.get(f"{control_url}/truth", params=parameters)
        answer.raise_for_status()
    return [json.loads(line) for line in answer.text.splitlines()]


async def await_truth(
    control_url: str,
    table: StateTable,
    *,
    within_s: float,
    account: str | None = None,
    every_s: float = _COMPARE_PERIOD_S,
) -> Comparison:
    """Compare again and again until state equals truth or the time is over; return the last comparison."""
    deadline = time.monotonic() + within_s
    while True:
        await asyncio.to_thread(table.refresh)
        truths = await read_truth(control_url, account)
        mine = {
            device_id: state
            for device_id, state in table.states.items()
            if account is None or state["account"] == account
        }
        comparison = compare_truth_and_state(truths, mine)
        if not comparison.differences or time.monotonic() > deadline:
            return comparison
        await asyncio.sleep(every_s)


async def await_known(control_url: str, table: StateTable, account: str, *, within_s: float) -> bool:
    """Wait until the state table has every device of the account, or the time is over; return whether it has."""
    deadline = time.monotonic() + within_s
    while True:
        await asyncio.to_thread(table.refresh)
        truths = await read_truth(control_url, account)
        if all(truth["device_id"] in table.states for truth in truths):
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_COMPARE_PERIOD_S)


def _differences(truth: Truth, state: State | None) -> Iterable[Difference]:
    device_id = truth["device_id"]
    channels = {channel["channel"]: channel for channel in truth["channels"]}
    removed = bool(truth["removed"])
    if state is None:
        if not removed and any(channel["status"] not in _AT_REST for channel in channels.values()):
            yield Difference(
                device_id=device_id, what="device", truth=_device_status(truth), state="(missing)"
            )
        return
    if removed != ("removed_at_ms" in state):
        yield Difference(
            device_id=device_id, what="removed", truth=str(removed), state=str("removed_at_ms" in state)
        )
    shown = {channel["channel"]: channel for channel in state["channels"]}
    if removed and not shown:
        # Nothing was known of it when it was removed, and nobody tells it any more.
        return
    for name in sorted(channels.keys() | shown.keys()):
        for field in ("status", "current_version"):
            expected, found = channels.get(name, {}).get(field), shown.get(name, {}).get(field)
            unknown = field == "current_version" and None in (expected, found)
            if expected != found and not unknown:
                yield Difference(
                    device_id=device_id,
                    what=f"channel {name} {field}",
                    truth=expected or "(missing)",
                    state=found or "(missing)",
                )


def _shown_status(truth: Truth, state: State | None, *, may_be_missing: bool) -> str:
    if state is None:
        return _device_status(truth) if may_be_missing else "(missing)"
    return "removed" if "removed_at_ms" in state else str(state["status"])


def _device_status(truth: Truth) -> str:
    if truth["removed"]:
        return "removed"
    statuses = {channel["status"] for channel in truth["channels"]}
    return next(status for status in _PRECEDENCE if status in statuses)
