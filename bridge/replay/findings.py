"""What a replay found: devices counted in groups, and a few of each with everything that differs."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from msgspec import Struct

from bridge.replay.differences import Difference, is_side_effect, rules_of, telling, transition
from bridge.replay.parting import NO_PARTING, Parting
from schemas import UpgradeState

Cause = Literal["rules", "timers"]
"""Why a state differs: by the rules (or the policy, or a defect), or only because a timer fired at another time."""


class Group(Struct, frozen=True, kw_only=True):
    """Devices that differ in the same way.

    `published` and `replayed` are the statuses, `fields` those that differ, `rules` those that decide these fields.
    """

    cause: Cause
    published: str
    replayed: str
    fields: tuple[str, ...]
    rules: tuple[str, ...]
    parting: Parting = NO_PARTING

    @property
    def shows_more_than_times(self) -> bool:
        """Whether anything differs that people are shown, beyond when and how often the device changed."""
        return not all(is_side_effect(field) for field in self.fields)


class Example(Struct, frozen=True, kw_only=True):
    """One of them, with all that differs."""

    device_id: str
    account: str
    group: Group
    counts: tuple[str, ...]
    """What the rules counted at the input from which on the replay went another way."""
    differences: tuple[Difference, ...]


class Findings:
    """Collects them; of each group at most `limit` examples are kept."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.groups: Counter[Group] = Counter()
        self.examples: dict[Group, list[Example]] = {}
        self.counts: Counter[str] = Counter()
        """Of the replay: `observations` folded, `dead_letters` refused and so on, as the fold counts."""
        self.same = 0
        """Devices that come out as published."""
        self.began_earlier = 0
        """Devices whose first observation the topic does not hold any more: nothing can be said about them."""
        self.unreadable = 0
        """States that cannot be decoded."""
        self.oldest_ms: int | None = None
        """When the oldest observation that the topic still holds was made."""
        self.behind = 0
        """Partitions in which the bridge has yet to fold a backlog: of those it is compared up to there."""

    @property
    def by_rules(self) -> int:
        """Devices that differ by more than the times of timers."""
        return self._devices("rules")

    @property
    def by_timers(self) -> int:
        """Devices that differ only because timers fired at other times."""
        return self._devices("timers")

    @property
    def compared(self) -> int:
        """Devices about which something can be said."""
        return self.same + self.groups.total()

    @property
    def published(self) -> int:
        """Devices that could not be compared, and those that were."""
        return self.compared + self.began_earlier + self.unreadable

    def begin(self, oldest_ms: int | None) -> None:
        """Note when a partition's oldest observation was made."""
        if oldest_ms is not None:
            self.oldest_ms = oldest_ms if self.oldest_ms is None else min(self.oldest_ms, oldest_ms)

    def add(
        self,
        cause: Cause,
        published: UpgradeState | None,
        replayed: UpgradeState | None,
        found: tuple[Difference, ...],
        parting: Parting | None = None,
    ) -> None:
        """Add a device that differs."""
        state = published or replayed
        if state is None or not found:
            raise AssertionError("a device that differs has a state, and something that differs")
        before, after = transition(published, replayed)
        names = telling(found)
        where = parting or NO_PARTING
        group = Group(
            cause=cause,
            published=before,
            replayed=after,
            fields=names,
            rules=rules_of(names),
            parting=where.without_counts(),
        )
        self.groups[group] += 1
        examples = self.examples.setdefault(group, [])
        if len(examples) < self._limit:
            examples.append(
                Example(
                    device_id=state.device_id,
                    account=state.account,
                    group=group,
                    counts=where.counts,
                    differences=found,
                )
            )

    def _devices(self, cause: Cause) -> int:
        return sum(count for group, count in self.groups.items() if group.cause == cause)
