"""The replay of one partition.

1. **See** the published states, and how far the fold had come with them.
2. **Fold** the observations up to there again, from nothing, each device's timers in between.
3. **End** where the fold's own clock had come: what was due by then fires.
4. **Compare** each device whose first observation is still there.
5. **Fold those that differ once more**, their timers when the public log says that they fired.
6. **Tell** apart what then is as published, and what still differs.

In memory are two stores of one partition, and what the log tells of the devices that differ.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import TopicPartition
from msgspec import Struct

from bridge.fold.batch import FoldTopics
from bridge.fold.clock import ms
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from bridge.replay.differences import Difference, are_timers_times, differences
from bridge.replay.findings import Findings
from bridge.replay.folding import Folding, Output
from bridge.replay.parting import NO_PARTING, Watch
from bridge.replay.reading import Published, Reader
from bridge.replay.timing import LATE_MS, AsTold, WhenDue
from bridge.replay.told import ToldLog
from schemas import Observation, UpgradeState
from schemas.unreadable import UNREADABLE

_CLOCKS_AGREE_MS: Final = 1000
"""Two copies of the bridge may make the observations of one device; their clocks agree so well."""

Suspects = Mapping[str, tuple[Difference, ...]]


class Selection(Struct, frozen=True, kw_only=True):
    """Which devices; what is empty does not restrict."""

    devices: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()

    def takes(self, device_id: str, account: str) -> bool:
        """Whether a device is one of them."""
        return (not self.devices or device_id in self.devices) and (
            not self.accounts or account in self.accounts
        )

    def record_keys(self) -> frozenset[bytes]:
        """Return the keys of the records that are needed; empty: all. Those without a key are every device's."""
        return frozenset(device_id.encode() for device_id in self.devices)


class PartitionReplay:
    """Replays one partition and adds to `findings` what it finds. Used once.

    `step` is told how many more observations are done, and what is being done.
    """

    def __init__(
        self,
        partition: int,
        reader: Reader,
        policy: Policy,
        topics: FoldTopics,
        findings: Findings,
        *,
        selection: Selection,
        step: Callable[[int, str], None],
        output: Output | None = None,
        written: FoldTopics | None = None,
    ) -> None:
        self._reader = reader
        self._policy = policy
        self._topics = topics
        self._findings = findings
        self._selection = selection
        self._step = step
        self._partition = partition
        self._begun: dict[str, bool] = {}
        self._published = Published(Store(partition), 0, 0)
        self._folding = Folding(
            partition,
            policy,
            written or topics,
            WhenDue(policy),
            is_wanted=self._is_wanted,
            output=output,
        )

    async def run(self) -> None:
        """Take the six steps. Raises KafkaError and ObservationsExpired."""
        # 1.
        observations = self._place(self._topics.observations)
        self._step(0, "reading the states")
        self._published = await self._reader.published(self._place(self._topics.state), observations)

        # 2.
        start, _ = await self._reader.bounds(observations)
        oldest_ms = await self._fold(self._folding, start, self._selection.record_keys(), "folding")
        self._findings.begin(oldest_ms)

        # 3.
        end_ms = await self._end_ms(observations)
        await self._folding.run_timers(end_ms)
        self._findings.counts.update(self._folding.counts)

        # 4.
        suspects = self._compare(None if start == 0 else oldest_ms)
        if not suspects:
            return

        # 5.
        log = await self._told(suspects)
        watch = Watch(log)
        again = Folding(
            self._partition,
            self._policy,
            self._topics,
            AsTold(self._policy, log, end_ms),
            watch=watch,
        )
        keys = frozenset(device_id.encode() for device_id in suspects)
        await self._fold(again, start, keys, f"folding {len(suspects)} devices once more", counts=False)
        await again.run_timers(end_ms)

        # 6.
        self._tell(suspects, again.store, log, watch)

    async def _fold(
        self, folding: Folding, start: int, keys: frozenset[bytes], what: str, *, counts: bool = True
    ) -> int | None:
        """Fold the observations that have one of these keys; return when the first of all was made."""
        oldest_ms: int | None = None
        place, end = self._place(self._topics.observations), self._published.input_end
        async for records in self._reader.observations(place, start, end):
            oldest_ms = records[0].timestamp if oldest_ms is None else oldest_ms
            wanted = [each for each in records if each.key is None or each.key in keys] if keys else records
            await folding.fold(wanted)
            self._step(len(records) if counts else 0, what)
        return oldest_ms

    async def _end_ms(self, observations: TopicPartition) -> int:
        """3. The fold's clock when it wrote the latest state; the observations' time where it has written none.

        Where it was working off a backlog its timers ran on the observations' time, up to the next one it would fold.
        """
        end_ms = self._published.written_at_ms or self._folding.time_ms
        following = await self._reader.one(observations, self._published.input_end)
        if following is None or following.timestamp + LATE_MS >= end_ms:
            return end_ms

        self._findings.behind += 1
        return following.timestamp

    def _is_wanted(self, observation: Observation) -> bool:
        device_id = observation.device_id
        begun = self._begun.get(device_id)
        if begun is None:
            begun = self._begun[device_id] = self._begins_with(observation)
        return begun

    def _begins_with(self, observation: Observation) -> bool:
        """Whether this is a device's first observation, and not only the first that is left.

        A revision begins at the first observation's time and rises by one an event, not by one a millisecond: that of a
        device which began earlier is lower.
        """
        published = self._state(self._published.store, observation.device_id)
        if published is None:
            return True

        return (
            self._selection.takes(published.device_id, published.account)
            and published.revision >= observation.observed_at_ms - _CLOCKS_AGREE_MS
        )

    def _compare(self, cut_ms: int | None) -> Suspects:
        """4. Return the devices that differ. `cut_ms`: Kafka has deleted observations from before this time."""
        findings, published, replayed = self._findings, self._published.store, self._folding.store
        suspects: dict[str, tuple[Difference, ...]] = {}
        for device_id in published.device_ids():
            if self._selection.devices and device_id not in self._selection.devices:
                continue
            state = self._state(published, device_id)
            if state is None:
                findings.unreadable += 1
                continue
            if not self._selection.takes(device_id, state.account):
                continue
            if not self._begun.get(device_id):
                findings.began_earlier += 1
                continue
            found = differences(state, self._state(replayed, device_id))
            if found:
                suspects[device_id] = found
            else:
                findings.same += 1

        known = set(published.device_ids())
        for device_id in replayed.device_ids():
            state = None if device_id in known else self._state(replayed, device_id)
            if state is None or not self._selection.takes(device_id, state.account):
                continue
            if cut_ms is not None and state.revision < cut_ms + ms(self._policy.tombstone_after_s):
                # It may have been removed before, and spoken once more before its tombstone (R10).
                findings.began_earlier += 1
            else:
                suspects[device_id] = differences(None, state)
        return suspects

    async def _told(self, suspects: Suspects) -> ToldLog:
        """5. Read what the public log tells of these devices."""
        log, place = ToldLog(), self._place(self._topics.events)
        keys = frozenset(device_id.encode() for device_id in suspects)
        self._step(0, f"reading the events of {len(suspects)} devices")
        async for records in self._reader.read(place, *await self._reader.bounds(place)):
            for record in records:
                if record.key in keys:
                    with contextlib.suppress(*UNREADABLE):
                        log.take(record)
        return log

    def _tell(self, suspects: Suspects, again: Store, log: ToldLog, watch: Watch) -> None:
        """6. What timers did not do, the rules did."""
        for device_id, first in suspects.items():
            published = self._state(self._published.store, device_id)
            replayed = self._state(again, device_id)
            found = differences(published, replayed)
            parting = watch.of(
                device_id,
                0 if replayed is None else replayed.revision,
                None if published is None else published.revision,
            )
            is_time = are_timers_times(found) and parting == NO_PARTING and log.of(device_id).has_timers()
            if not found or is_time:
                # Told as the first replay left it: where a timer's time decided more than a time, that shows there.
                self._findings.add("timers", published, self._state(self._folding.store, device_id), first)
            else:
                self._findings.add("rules", published, replayed, found, parting)

    def _state(self, store: Store, device_id: str) -> UpgradeState | None:
        """Return a device's state; None where there is none, or where it cannot be read."""
        try:
            device = store.get(device_id)
        except UNREADABLE:
            return None
        return None if device is None else device.state

    def _place(self, topic: str) -> TopicPartition:
        return TopicPartition(topic, self._partition)
