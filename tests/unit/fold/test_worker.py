"""A worker without a broker: whatever it is given, the stream goes on and no device is forgotten."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from bridge.fold.batch import FoldTopics
from bridge.fold.encoding import encode_device
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from bridge.fold.timers import BackgroundPace
from bridge.fold.waiting import next_timer_at
from bridge.fold.worker import OffsetJump, Worker
from bridge.kafka.transactions import TransactionRecord
from schemas import Observation, ObservedEvidence
from tests.unit.fold.story import START_MS, Story, ms, upgrading
from tests.virtual_time import in_virtual_time, now_s

PLACE = TopicPartition("ota.observations.v1", 3)
TOPICS = FoldTopics(
    observations="ota.observations.v1",
    state="ota.upgrade-state.v1",
    events="ota.upgrade-events.v1",
    lookups="ota.lookups.v1",
    dead_letters="ota.dead-letters.v1",
    partitions=12,
)


class Kept(list[TransactionRecord]):
    """A draft that keeps its records."""

    add = list.append


class Commits:
    """A producer that keeps what it was given to commit."""

    is_doubtful = False

    def __init__(self) -> None:
        self.records: list[TransactionRecord] = []
        self.offsets: list[int] = []

    def draft(self) -> Kept:
        return Kept()

    async def commit(
        self, records: Iterable[TransactionRecord], offsets: Mapping[TopicPartition, int], group: str
    ) -> dict[tuple[str, int], int]:
        assert group == "ota-fold"
        self.records += records
        self.offsets += offsets.values()
        return {}

    def of(self, topic: str) -> list[TransactionRecord]:
        return [record for record in self.records if record.topic == topic]


class Bench:
    """A worker at `now_s` of the story, with its store and what it committed."""

    def __init__(
        self, now_s: float = 10, *, rates: Mapping[str, float] | None = None, backlog_end: int = 0
    ) -> None:
        self.now_ms = ms(now_s)
        self.store = Store(3)
        self.commits = Commits()
        self.counts: Counter[str] = Counter()
        self.policy = Policy(jitter_s=0.0)
        self.worker = Worker(
            place=PLACE,
            topics=TOPICS,
            group="ota-fold",
            policy=self.policy,
            store=self.store,
            producer=self.commits,  # type: ignore[arg-type]
            pace=BackgroundPace(rates or {}),
            next_offset=0,
            backlog_end=backlog_end,
            counts=self.counts,
            now_ms=lambda: self.now_ms,
        )

    def keep(self, story: Story, device_id: str) -> None:
        """Put the story's device into the store under another name."""
        device = story.known
        state = msgspec.structs.replace(device.state, device_id=device_id)
        timer_at_ms = next_timer_at(device, self.policy)
        self.store.put(device_id, *encode_device(type(device)(state, device.book), timer_at_ms))
        if timer_at_ms is not None:
            self.store.timers.arm(timer_at_ms, device_id)

    async def work(self, *records: Any) -> None:
        """Run the worker until it has nothing to do."""
        self.worker.offer(records)
        running = asyncio.create_task(self.worker.run())
        for _ in range(50):
            await asyncio.sleep(0)
        self.worker.stop()
        await running


def record(offset: int, observation: Observation | bytes) -> Any:
    value = observation if isinstance(observation, bytes) else msgspec.json.encode(observation)
    return SimpleNamespace(offset=offset, partition=3, value=value)


def told(device_id: str, **fields: Any) -> Observation:
    return Observation(
        **{
            "device_id": device_id,
            "cloud": "tuya-cloud",
            "account": "home",
            "channel": "0",
            "kind": "status",
            "status": "installing",
            "asked_at_ms": START_MS,
            "observed_at_ms": START_MS,
            "evidence": ObservedEvidence(origin="lookup", name="test"),
        }
        | fields
    )


@pytest.mark.parametrize(
    "odd",
    [
        {"vendor_timeout_s": 10**20, "current_version": "1.0", "target_version": "1.1"},
        {"asked_at_ms": -(10**20)},
        {"observed_at_ms": 10**17},
    ],
)
async def test_a_number_that_cannot_be_written_is_one_dead_letter(odd: dict[str, Any]) -> None:
    bench = Bench()

    await bench.work(record(0, told("odd", **odd)), record(1, told("good")))

    assert len(bench.commits.of(TOPICS.dead_letters)) == 1
    assert [event.key for event in bench.commits.of(TOPICS.events)] == [b"good"]
    assert bench.commits.offsets == [2]


@pytest.mark.parametrize(("kind", "refused"), [("answer", 0), ("status", 1)])
async def test_the_end_of_a_listing_concerns_no_device_and_anything_else_has_to_name_one(
    kind: str, refused: int
) -> None:
    bench = Bench()

    await bench.work(record(0, told("", kind=kind, status=None, channel=None)), record(1, told("good")))

    assert len(bench.commits.of(TOPICS.dead_letters)) == refused
    assert [event.key for event in bench.commits.of(TOPICS.events)] == [b"good"]
    assert bench.commits.offsets == [2]
    assert bench.counts["listing_answered"] == 1 - refused


async def test_a_number_that_cannot_be_written_costs_its_device_nothing_else() -> None:
    bench = Bench()
    odd = {
        "vendor_timeout_s": 10**20,
        "asked_at_ms": START_MS + 2,
        "status": "downloading",
        "undivided": True,
    }

    await bench.work(
        record(0, told("d", status="downloading", current_version="1.0", target_version="1.1")),
        record(1, told("d", **odd)),
        record(2, told("d", asked_at_ms=START_MS + 3)),
        record(3, b"not an observation"),
    )

    statuses = [dict(event.headers)["ce_status"] for event in bench.commits.of(TOPICS.events)]
    assert statuses == [b"downloading", b"installing"]
    positions = [letter.key for letter in bench.commits.of(TOPICS.dead_letters)]
    assert positions == [b"observations/3:1", b"observations/3:3"]
    assert bench.counts["observations"] == 2
    assert bench.counts["dead_letters"] == 2
    assert bench.commits.offsets == [4]


DEEP = b'{"device_id":"d","evidence":{"origin":"push","name":"x","raw":' + b"[" * 3000 + b"]" * 3000 + b"}}"


@pytest.mark.parametrize("value", [b'{"device_id":"d\xff"}', DEEP], ids=["no UTF-8", "nested"])
async def test_what_no_decoder_reads_costs_one_dead_letter(value: bytes) -> None:
    bench = Bench()

    await bench.work(record(0, value), record(1, told("good")))

    assert [letter.key for letter in bench.commits.of(TOPICS.dead_letters)] == [b"observations/3:0"]
    assert bench.counts["observations"] == 1


async def test_a_state_that_is_no_text_costs_its_device_and_stops_nobody() -> None:
    bench = Bench()
    bench.keep(upgrading(), "damaged")
    damaged = bench.store._devices["damaged"].replace(b'"account":"home"', b'"account":"h\xffme"')
    assert damaged != bench.store._devices["damaged"]
    bench.store._devices["damaged"] = damaged

    await bench.work(record(0, told("damaged")), record(1, told("good")))

    assert [letter.key for letter in bench.commits.of(TOPICS.dead_letters)] == [b"observations/3:0"]
    assert bench.counts["observations"] == 1


async def test_a_clock_that_is_ahead_fires_no_timer_of_a_backlog_in_the_future() -> None:
    bench = Bench(now_s=200, backlog_end=2)
    claiming = upgrading()
    claiming.claim(110, "failed")
    bench.keep(claiming, "claiming")

    await bench.work(record(0, told("other", observed_at_ms=ms(7_301))))

    assert bench.worker.is_behind
    assert [event.key for event in bench.commits.of(TOPICS.events)] == [b"other"]


async def test_a_result_too_large_for_kafka_costs_a_dead_letter_and_nothing_else() -> None:
    bench = Bench()

    await bench.work(
        record(0, told("d")),
        record(1, told("d", asked_at_ms=START_MS + 2, status="verifying", channel="9" * 600_000)),
        record(2, told("d", asked_at_ms=START_MS + 3, status="succeeded")),
    )

    assert [letter.key for letter in bench.commits.of(TOPICS.dead_letters)] == [b"observations/3:1"]
    statuses = [dict(event.headers)["ce_status"] for event in bench.commits.of(TOPICS.events)]
    assert statuses == [b"installing", b"succeeded"]
    assert bench.commits.offsets == [3]


async def test_a_large_batch_is_one_transaction_with_one_state_of_each_device_and_lets_others_work_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.fold.worker.SLICE_OBSERVATIONS", 2)
    bench = Bench()
    folded: list[int] = []

    async def watch() -> None:
        while not bench.commits.offsets:
            folded.append(bench.worker.next_offset)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    await bench.work(*(record(number, told(f"d{number % 2}", progress=number)) for number in range(7)))
    await watching

    assert bench.commits.offsets == [7]
    # Those of a second transaction are their timers'.
    assert [state.key for state in bench.commits.of(TOPICS.state)] == [b"d0", b"d1"] * 2
    assert bench.counts["observations"] == 7
    assert {2, 4, 6} <= set(folded)


@in_virtual_time
async def test_a_transaction_begins_at_once_after_a_pause_and_otherwise_no_sooner_than_the_interval() -> None:
    bench = Bench()
    running = asyncio.create_task(bench.worker.run(lambda: 0.030))
    began_s = now_s()
    bench.worker.offer([record(0, told("first"))])
    for _ in range(10):
        await asyncio.sleep(0)
    assert bench.commits.offsets == [1]
    assert now_s() - began_s < 0.001

    for number in range(1, 300):
        await asyncio.sleep(0.001)
        bench.worker.offer([record(number, told("d", progress=number % 100))])
    await asyncio.sleep(0.1)
    bench.worker.stop()
    await running

    assert bench.commits.offsets[-1] == 300
    assert 9 <= len(bench.commits.offsets) <= 12


async def test_a_state_that_cannot_be_read_costs_its_device_a_dead_letter_and_stops_nothing() -> None:
    bench = Bench()
    bench.store.put("odd", b'{"status":"paused_by_vendor"}', [])
    bench.store.timers.arm(0, "odd")

    await bench.work(record(0, told("odd")), record(1, told("good")))

    assert len(bench.commits.of(TOPICS.dead_letters)) == 1
    assert bench.counts["timer_failed"] == 1
    assert "odd" in bench.store.timers
    assert bench.commits.offsets == [2]


@pytest.mark.parametrize("offset", [5, 15])
async def test_an_offset_that_is_not_the_expected_one_ends_the_worker(offset: int) -> None:
    bench = Bench()
    bench.worker.next_offset = 10
    bench.worker.offer([record(offset, told("d"))])

    with pytest.raises(OffsetJump) as jump:
        await bench.worker.run()

    assert jump.value.expected == 10
    assert bench.commits.records == []


async def test_a_hole_that_a_take_over_found_again_is_counted_and_passed() -> None:
    bench = Bench()
    bench.worker.next_offset = 10
    bench.worker.expect_hole(10)

    await bench.work(record(12, told("d")))

    assert bench.counts["offsets_missing"] == 2
    assert bench.commits.offsets == [13]


async def test_a_commit_that_fails_leaves_every_reminder_in_the_store() -> None:
    bench = Bench(now_s=20)
    story = Story()
    story.hint(0)
    bench.keep(story, "d")

    async def fail(*_: object) -> dict[tuple[str, int], int]:
        raise ConnectionError

    bench.commits.commit = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await bench.worker.run()

    assert bench.store.timers.next_at() == 0


async def test_a_lookup_whose_transaction_was_aborted_leaves_its_place_to_others() -> None:
    bench = Bench(now_s=200_000, rates={"home": 4 / 12})
    idle = Story()
    idle.answer(0, "idle", now="1.0")
    idle.wait(4)
    idle.answered(4)
    for number in range(5):
        bench.keep(idle, f"idle{number}")
    commit = bench.commits.commit

    async def fail(*_: object) -> dict[tuple[str, int], int]:
        raise ConnectionError

    bench.commits.commit = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await bench.worker.run()
    bench.commits.commit = commit  # type: ignore[method-assign]
    bench.now_ms += 5000
    await bench.work()

    assert len(bench.commits.of(TOPICS.lookups)) == 1


async def test_what_was_not_committed_is_not_in_the_store() -> None:
    bench = Bench()
    await bench.work(record(0, told("d", status="downloading")))
    before = bench.store.get("d")

    async def fail(*_: object) -> dict[tuple[str, int], int]:
        raise ConnectionError

    bench.commits.commit = fail  # type: ignore[method-assign]
    bench.worker._stopping = False
    bench.worker.offer([record(1, told("d", status="installing")), record(2, told("new"))])
    with pytest.raises(ConnectionError):
        await bench.worker.run()

    assert bench.store.get("d") == before
    assert before is not None
    assert before.state.status == "downloading"
    assert bench.store.get("new") is None


async def test_timers_never_overtake_the_backlog_found_at_take_over() -> None:
    bench = Bench(now_s=100_000, backlog_end=2)
    story = upgrading()
    bench.keep(story, "d1")

    await bench.work(record(0, told("other", observed_at_ms=ms(106), asked_at_ms=ms(106))))
    behind = [letter.key for letter in bench.commits.of(TOPICS.events) if letter.key == b"d1"]
    bench.worker._stopping = False
    await bench.work(record(1, told("other", observed_at_ms=ms(107), asked_at_ms=ms(107))))

    assert behind == []
    assert [event.key for event in bench.commits.of(TOPICS.events) if event.key == b"d1"] == [b"d1"]


async def test_an_open_attempts_stall_does_not_wait_behind_the_fleets_refresh() -> None:
    bench = Bench(now_s=200_000, rates={"home": 0.001})
    idle = Story()
    idle.answer(0, "idle", now="1.0")
    idle.wait(4)
    idle.answered(4)
    for number in range(100):
        bench.keep(idle, f"idle{number}")
    bench.keep(upgrading(), "open")

    await bench.work()

    types = [dict(event.headers)["ce_type"] for event in bench.commits.of(TOPICS.events)]
    assert types == [b"ota.upgrade.stalled"]
    causes = [
        msgspec.json.decode(lookup.value or b"")["cause"] for lookup in bench.commits.of(TOPICS.lookups)
    ]
    assert "stalled" in causes
    assert len(causes) <= 3


async def test_a_watched_devices_lookup_leaves_before_the_fleets() -> None:
    pace = BackgroundPace({"home": 1.0})
    for number in range(10):
        pace.wait("home", f"idle{number}")
    pace.wait("home", "open", is_watched=True)

    assert pace.take(1_000_000, 1) == ["open"]
