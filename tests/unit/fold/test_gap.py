"""R15: after a gap every device of the account is asked about, and whatever happens meanwhile costs nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from bridge.fold.bookkeeping import decode_bookkeeping
from bridge.fold.encoding import encode_device
from bridge.fold.gap import OpenGap
from bridge.fold.policy import Policy
from bridge.fold.rules import Folded, fold
from bridge.fold.timers import BackgroundPace
from bridge.fold.worker import Worker
from bridge.kafka.transactions import TransactionRecord
from schemas import Observation, ObservedEvidence
from tests.unit.fold.story import Story, ms
from tests.unit.fold.test_worker import PLACE, TOPICS, Bench, record, told

DAY_S = 86_400.0
AT_S = 10 * DAY_S
"""When the gap is told: long after the devices' stories, before their next periodic lookups."""


def gap(account: str = "home", at_s: float = AT_S) -> Observation:
    return Observation(
        device_id="",
        cloud="tuya-cloud",
        account=account,
        kind="gap",
        observed_at_ms=ms(at_s),
        evidence=ObservedEvidence(origin="bridge", name="gap"),
    )


def just_told(device_id: str) -> Observation:
    return told(device_id, observed_at_ms=ms(AT_S), asked_at_ms=ms(AT_S))


def settled(at_s: float = 100.0) -> Story:
    """A device that runs 1.1 since an upgrade that ended at `at_s`; its next lookup is far away."""
    story = Story(Policy(jitter_s=0.0, refresh_period_s=100 * DAY_S))
    story.answer(at_s - 50, "idle", now="1.0")
    story.wait(at_s - 46)
    story.answered(at_s - 46)
    story.answer(at_s, "succeeded", now="1.1")
    story.answer(at_s + 61, "succeeded", now="1.1")
    story.wait(at_s + 61)
    story.answered(at_s + 61)
    assert story.status == "succeeded"
    return story


def opened(at_s: float) -> Story:
    """A device in an attempt that began at `at_s`; its next lookup is an hour away."""
    story = Story()
    story.answer(at_s - 100, "idle", now="1.0")
    story.wait(at_s - 96)
    story.answered(at_s - 96)
    story.push(at_s, "installing")
    story.wait(at_s + 4)
    story.answer(at_s + 4, "installing", now="1.0", offer="1.1")
    story.answered(at_s + 4)
    assert story.known.book.due_cause == "periodic"
    return story


def tell(story: Story, at_s: float, **fields: Any) -> Folded:
    return story.fold(msgspec.structs.replace(gap(at_s=at_s), **fields))


def lookups(bench: Bench) -> list[tuple[str, str]]:
    """Device and cause of every lookup asked for, in order."""
    asked = [msgspec.json.decode(lookup.value or b"") for lookup in bench.commits.of(TOPICS.lookups)]
    return [(lookup["device_id"], lookup["cause"]) for lookup in asked]


async def test_a_gap_that_a_state_knows_of_already_is_not_folded_into_it_again() -> None:
    bench = Bench(AT_S)
    for name, offset in (("knows", 5), ("does-not", -1)):
        story = settled()
        story.known.book.offset = offset
        bench.keep(story, name)
    before = bench.store.get("knows")

    await bench.work(record(0, gap()))

    assert bench.counts["gap_device"] == 1
    assert bench.store.get("knows") == before


def states(bench: Bench) -> list[str]:
    return [(state.key or b"").decode() for state in bench.commits.of(TOPICS.state)]


class FewCommits:
    """Another producer of a bench, which fails after so many commits."""

    is_doubtful = False

    def __init__(self, bench: Bench, left: int) -> None:
        self._commits = bench.commits
        self.draft = bench.commits.draft
        self.left = left

    async def commit(
        self, records: Iterable[TransactionRecord], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[tuple[str, int], int]:
        if self.left == 0:
            raise ConnectionError
        self.left -= 1
        return await self._commits.commit(records, offsets, group)


def fleet(bench: Bench, count: int) -> None:
    device = settled().known
    for number in range(count):
        device_id = f"d{number:05d}"
        state = msgspec.structs.replace(device.state, device_id=device_id)
        bench.store.put(device_id, *encode_device(type(device)(state, device.book), None))


async def test_every_device_of_the_account_is_asked_about_the_most_urgent_first() -> None:
    bench = Bench(now_s=AT_S + 100)
    bench.keep(settled(), "a-old")
    bench.keep(settled(AT_S - DAY_S / 2), "b-recent")
    bench.keep(settled(), "c-old")
    bench.keep(settled(AT_S - DAY_S / 2), "d-recent")
    bench.keep(opened(AT_S - 200), "e-open")

    await bench.work(record(0, gap()))

    assert [device for device, _ in lookups(bench)] == ["e-open", "b-recent", "d-recent", "a-old", "c-old"]
    assert {cause for _, cause in lookups(bench)} == {"gap"}
    assert states(bench)[:5] == ["e-open", "b-recent", "d-recent", "a-old", "c-old"]
    assert bench.counts["gap"] == 1


async def test_a_gap_is_folded_in_slices_and_counts_as_read_with_the_last() -> None:
    bench = Bench(now_s=AT_S - 1)
    fleet(bench, 2500)
    sizes: list[tuple[int, list[int]]] = []
    commit = bench.commits.commit

    async def watched(
        records: Iterable[TransactionRecord], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[tuple[str, int], int]:
        kept = list(records)
        sizes.append((sum(each.topic == TOPICS.state for each in kept), list(offsets.values())))
        return await commit(kept, offsets, group)

    bench.commits.commit = watched  # type: ignore[method-assign]
    await bench.work(record(0, just_told("first")), record(1, gap()), record(2, just_told("next")))

    assert [offsets for _, offsets in sizes] == [[1], [], [], [2], [3]]
    assert all(size <= 1000 for size, _ in sizes)
    assert sum(size for size, _ in sizes[1:4]) == 2500
    assert (states(bench)[0], states(bench)[-1]) == ("first", "next")


async def test_a_worker_that_dies_within_a_gap_leaves_the_rest_to_the_next_and_repeats_nothing() -> None:
    bench = Bench(now_s=AT_S, rates={"home": 0.001})
    fleet(bench, 2500)
    bench.worker._producer = FewCommits(bench, 1)  # type: ignore[assignment]
    bench.worker.offer([record(0, gap())])
    with pytest.raises(ConnectionError):
        await bench.worker.run()
    assert len(states(bench)) == 1000
    assert bench.commits.offsets == []

    bench.worker = _next_worker(bench)
    await bench.work(record(0, gap()))

    assert len(states(bench)) == len(set(states(bench))) == 2500
    assert bench.commits.offsets == [1]


async def test_the_same_gap_told_by_another_copy_changes_nothing() -> None:
    bench = Bench(now_s=AT_S, rates={"home": 0.001})
    fleet(bench, 100)
    await bench.work(record(0, gap()))
    assert len(states(bench)) == 100

    bench.worker = _next_worker(bench)
    await bench.work(record(1, gap(at_s=AT_S + 5)))

    assert len(states(bench)) == 100
    assert bench.commits.offsets == [1, 2]
    assert bench.counts["gap"] == 2


async def test_another_accounts_devices_are_left_alone() -> None:
    bench = Bench(now_s=AT_S, rates={"home": 0.001})
    fleet(bench, 3)

    await bench.work(record(0, gap(account="elsewhere")))

    assert states(bench) == []
    assert bench.commits.of(TOPICS.dead_letters) == []
    assert bench.commits.offsets == [1]


async def test_a_device_that_cannot_be_read_costs_the_others_nothing() -> None:
    bench = Bench(now_s=AT_S, rates={"home": 0.001})
    bench.store.put("odd", b'{"status":"paused_by_vendor"}', [])
    fleet(bench, 3)

    await bench.work(record(0, gap()))

    assert len(states(bench)) == 3
    assert bench.counts["gap_failed"] == 1
    assert bench.commits.offsets == [1]


async def test_a_gap_within_a_large_batch_comes_after_what_is_before_it_and_before_what_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.fold.worker.SLICE_OBSERVATIONS", 3)
    bench = Bench(now_s=AT_S)

    await bench.work(
        *(record(number, gap() if number == 4 else just_told(f"d{number}")) for number in range(8))
    )

    assert bench.commits.offsets == [4, 5, 8]
    assert bench.counts["observations"] == 7
    assert states(bench) == ["d0", "d1", "d2", "d3", "d5", "d6", "d7"]


async def test_an_observation_without_a_device_that_is_no_gap_is_a_dead_letter() -> None:
    bench = Bench(now_s=AT_S)
    await bench.work(record(0, just_told("")), record(1, just_told("next")))
    assert len(bench.commits.of(TOPICS.dead_letters)) == 1
    assert states(bench) == ["next"]


async def test_a_large_fleet_never_keeps_the_rest_of_the_process_waiting_for_more_than_a_slice() -> None:
    bench = Bench(now_s=AT_S + 1, rates={"home": 0.001})
    fleet(bench, 5000)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(others())
    bench.worker.offer([record(0, gap())])
    working = asyncio.create_task(bench.worker.run())
    while len(states(bench)) < 5000:
        await asyncio.sleep(0)
    while len(bench.worker._pace) + len(lookups(bench)) < 5000:
        await asyncio.sleep(0)
    bench.worker.stop()
    await working
    running.cancel()

    # Six passes to rank and a few with reminders alone; these commits wait for nobody.
    assert turns >= 8


async def test_lost_input_found_by_a_take_over_is_a_gap_of_every_account_and_committed_with_the_last_slice() -> (
    None
):
    bench = Bench(now_s=AT_S - 1)
    fleet(bench, 10)
    bench.worker = _next_worker(
        bench, next_offset=40, gap=OpenGap(offset=39, at_ms=ms(AT_S), lost_input="expired")
    )

    await bench.work(record(40, just_told("next")))

    assert len(states(bench)) == 11
    assert bench.commits.offsets == [40, 41]


async def test_states_of_a_topic_made_anew_lose_the_offsets_of_the_old_one() -> None:
    bench = Bench(now_s=AT_S, rates={"home": 0.001})
    fleet(bench, 3)
    await bench.work(record(0, gap()))
    bench.worker = _next_worker(bench, gap=OpenGap(offset=-1, at_ms=ms(AT_S), lost_input="recreated"))

    await bench.work()

    written = bench.commits.of(TOPICS.state)[3:]
    assert len(written) == 3
    for state in written:
        assert decode_bookkeeping(dict(state.headers)["bookkeeping"]).offset == -1


def test_a_gap_changes_nothing_that_is_public() -> None:
    story = settled()
    before = story.known.state

    folded = tell(story, AT_S)

    assert folded.events == ()
    assert story.known.state == before
    assert (story.known.book.due_cause, story.due_in_s) == ("gap", AT_S + 0.002)


def test_a_lookup_asked_before_the_gap_is_followed_by_one_asked_after_it() -> None:
    story = settled()
    story.hint(AT_S - 10)
    story.wait(AT_S - 5)
    assert story.known.book.lookup_id is not None
    tell(story, AT_S)

    story.answer(AT_S - 5, "succeeded", now="1.1", late_s=7)
    story.answered(AT_S - 5, late_s=7)
    story.run_timers(AT_S + 60)

    assert [lookup.cause for lookup in story.lookups][-2:] == ["hint", "gap"]


def test_a_lookup_that_somebody_waits_for_keeps_its_time_and_its_place() -> None:
    story = settled()
    story.hint(AT_S)
    due = story.due_in_s

    folded = tell(story, AT_S + 1)

    assert folded.device is story.device
    assert (story.known.book.due_cause, story.due_in_s) == ("hint", due)


def test_a_periodic_lookup_comes_forward() -> None:
    story = settled()
    assert story.known.book.due_cause == "periodic"
    tell(story, AT_S)
    story.run_timers(AT_S + 1)
    assert story.lookups[-1].cause == "gap"


@pytest.mark.parametrize("kind", ["removed", "without_api"])
def test_devices_that_cannot_be_asked_about_are_left_alone(kind: str) -> None:
    story = settled()
    if kind == "removed":
        story.removed(AT_S - 10)
    else:
        story.policy = msgspec.structs.replace(story.policy, accounts_without_api=("home",))
        story.known.book.due_at_ms = None
    assert tell(story, AT_S).device is story.device


def test_a_replay_of_a_gap_gives_the_same() -> None:
    first, second = settled(), settled()
    assert fold(first.known, gap(), first.policy) == fold(second.known, gap(), second.policy)


def _next_worker(bench: Bench, *, next_offset: int | None = None, gap: OpenGap | None = None) -> Worker:
    """The worker after a take-over, on the same store and commits."""
    offsets = bench.commits.offsets
    return Worker(
        place=PLACE,
        topics=TOPICS,
        group="ota-fold",
        policy=bench.policy,
        store=bench.store,
        producer=bench.commits,  # type: ignore[arg-type]
        pace=BackgroundPace({"home": 0.001}),
        next_offset=next_offset if next_offset is not None else max(offsets, default=0),
        backlog_end=0,
        counts=bench.counts,
        gap=gap,
        now_ms=lambda: bench.now_ms,
    )
