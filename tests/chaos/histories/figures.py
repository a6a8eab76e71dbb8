"""The figures of many histories in one weather, and the table that is printed of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from bridge.fold.policy import Policy
from tests.chaos.histories.plan import KINDS
from tests.chaos.histories.verdict import Judged, judge
from tests.chaos.histories.weather import Weather

_MOST_NAMED: Final = 20


class Figures(Struct, frozen=True, kw_only=True):
    """Counts of upgrades, but `wrong` and `unknowable`, which count channels' ends."""

    weather: Weather
    judged: Sequence[Judged]

    @property
    def lookups(self) -> list[int]:
        """Of each upgrade, rising."""
        return sorted(count for each in self.judged for count in each.lookups)

    @property
    def upgrades(self) -> int:
        return sum(len(each.upgrades) for each in self.judged)

    @property
    def phantoms(self) -> int:
        return sum(each.phantoms for each in self.judged)

    @property
    def phantoms_per_thousand(self) -> float:
        return 1000 * self.phantoms / self.upgrades

    @property
    def merged(self) -> int:
        return sum(each.merged for each in self.judged)

    @property
    def lookups_p50(self) -> int:
        return self.lookups[self.upgrades // 2]

    @property
    def lookups_p99(self) -> int:
        return self.lookups[self.upgrades * 99 // 100]

    @property
    def wrong(self) -> list[Judged]:
        return [each for each in self.judged if each.wrong]

    @property
    def secrets(self) -> Counter[str]:
        """Ends that could not be known, by why."""
        return Counter(why for each in self.judged for _, why in each.unknowable)

    @property
    def unknowable(self) -> int:
        return self.secrets.total()

    def __str__(self) -> str:
        periodic = sum(each.periodic for each in self.judged) / self.upgrades
        mean = sum(self.lookups) / self.upgrades
        p50_p99 = f"p50 {self.lookups_p50}, p99 {self.lookups_p99}"
        lines = [
            f"{self.weather.name}: {len(self.judged)} histories, {self.upgrades} upgrades",
            f"  phantoms {self.phantoms} ({self.phantoms_per_thousand:.2f} in 1,000), merged {self.merged}",
            f"  lookups {p50_p99}, mean {mean:.1f}, and {periodic:.1f} periodic ones",
            f"  wrong ends {sum(len(each.wrong) for each in self.judged)}, unknowable {self.unknowable}",
            *(f"    {count:6} {why}" for why, count in self.secrets.most_common()),
            *self._table(),
            *(
                f"  wrong: history {each.number} {each.upgrades} {each.wrong}"
                for each in self.wrong[:_MOST_NAMED]
            ),
        ]
        return "\n".join(lines)

    def _table(self) -> list[str]:
        rows: dict[str, Counter[str]] = defaultdict(Counter)
        lookups: dict[str, list[int]] = defaultdict(lambda: [0])
        for each in self.judged:
            for kind, count in zip(each.upgrades, each.lookups, strict=True):
                lookups[kind].append(count)
            for column, ends in (("wrong", each.wrong), ("unknowable", each.unknowable)):
                for kind, _ in ends:
                    rows[kind][column] += 1
            for kind in set(each.upgrades):
                rows[kind].update(phantoms=each.phantoms, merged=each.merged)
        table = [
            (
                f"  {'kind':18}{'upgrades':>9}{'lookups p50':>12}{'p99':>5}{'wrong':>7}{'unknowable':>11}"
                f"{'phantoms*':>10}{'merged*':>8}"
            )
        ]
        for kind in KINDS:
            row, counts = rows[kind], sorted(lookups[kind])
            p50, p99 = counts[len(counts) // 2], counts[len(counts) * 99 // 100]
            table.append(
                f"  {kind:18}{len(counts) - 1:9}{p50:12}{p99:5}{row['wrong']:7}{row['unknowable']:11}"
                f"{row['phantoms']:10}{row['merged']:8}"
            )
        return [*table, "  * of all histories with an upgrade of this kind"]


def judge_many(seed: int, histories: int, weather: Weather) -> Figures:
    """Make, tell and judge a seed's first histories under the rules' default times."""
    policy = Policy()
    return Figures(
        weather=weather, judged=[judge(seed, number, weather, policy) for number in range(histories)]
    )
