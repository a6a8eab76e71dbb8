"""Which statuses are true of a channel once the weather has cleared, with "What cannot be known" of docs/rules.md.

Every tolerance is one named case here; whatever is not named must be the truth itself.
"""

from __future__ import annotations

from typing import Any, Final

from bridge.fold.policy import Policy
from tests.unit.fold.model.cloud import REST, TERMINAL, Task, TrueChannel

_ORDER: Final = ("pending", "downloading", "installing", "verifying")
_TWICE_APART_S: Final = Policy().twice_apart_s
_ENDED: Final = frozenset({*TERMINAL, *REST, "unknown"})
"""Nothing but that no attempt is open."""


def true_statuses(channel: TrueChannel, now_ms: int) -> frozenset[str]:
    """What the bridge may show of `channel`, whose cloud has told the truth for a day."""
    answer, task = channel.answer(now_ms), channel.task
    told = answer["status"]
    if told in TERMINAL:
        return frozenset({told}) | _of_a_false_claim(task, answer)
    if channel.open_task is not None:
        return _of_open_task(channel, told)

    # The cloud is at rest: it tells versions, but no outcome.
    if task is None:
        return _ENDED if channel.was_lied_about else frozenset({told})
    if task.was_lied_about or task.is_merged:
        # A lie about an outcome that the cloud then no longer shows; or two attempts that became one.
        return _ENDED
    if not task.was_seen and not task.was_told:
        # Its pushes were lost, late, or came after its end: it shows as `version_changed` at most.
        return _ENDED
    # R19: without the version from before, an attempt that a cloud at rest ends is `unknown`, then as the cloud says.
    unknown = frozenset() if task.knew_version else frozenset({"unknown", told})
    if task.status == "succeeded":
        # R19: after a success a later version on offer is shown; where no target was named, also that one for a while.
        is_news = told == "available" or not task.knew_target
        true = frozenset({"succeeded", told} if is_news else {"succeeded"})
        if task.was_told:
            return true
        # Whether the version that runs was the target, where a cloud offers yet another one, nobody told. A cloud that
        # tells the version later than twice (R19) first shows what a cancel shows.
        is_shown = told == "idle" and channel.style.version_lag_s < _TWICE_APART_S
        is_proven = task.knew_version and (task.knew_target or is_shown)
        return true if is_proven else true | unknown | {"cancelled"}
    # R19: where no target was named, a version that came to run by itself looks like the one that was installed.
    moved = frozenset({"succeeded"} if channel.version != task.from_version and not task.knew_target else ())
    if task.status == "cancelled":
        return frozenset({"cancelled"}) | unknown | moved
    # A failure whose push was lost, under a cloud that resets its status: withdrawn is all that can be said.
    return frozenset({task.status}) | (frozenset() if task.was_told else unknown | {"cancelled"} | moved)


def _of_a_false_claim(task: Task | None, answer: dict[str, Any]) -> frozenset[str]:
    """What a claim of failure that was no task's may leave, where the cloud tells a success."""
    if task is None or answer["status"] != "succeeded":
        return frozenset()

    # R7: an answer confirmed it, and then the cloud contradicts itself.
    ends = frozenset(() if task.false_end is None else (task.false_end,))
    if task.false_claims > 1:
        # R7: two different claims are more than one wrong one.
        ends |= {"failed", "timed_out"}
    is_denied = answer["target_version"] not in (None, answer["current_version"])
    if is_denied and task.was_lied_about and not task.knew_version:
        # A success that names another version than runs, and nobody knows what ran before: if that was what runs now,
        # the claim is true.
        return ends | {"failed", "timed_out"}
    return ends


def _of_open_task(channel: TrueChannel, told: str) -> frozenset[str]:
    task = channel.open_task
    assert task is not None
    if task.was_lied_about or task.is_merged:
        # R4: inside an attempt a status never falls, not even to the truth.
        return frozenset(_ORDER[_ORDER.index(told) : 3])
    return frozenset({told})
