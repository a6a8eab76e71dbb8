"""The stage without brokers: what it says, and how it waits, where they refuse."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import InvalidTransactionTimeout, KafkaConnectionError, KafkaError, UnknownError

from bridge.fold import stage
from bridge.fold.policy import Policy
from bridge.fold.stage import Fold
from bridge.kafka.reach import Outage
from bridge.kafka.settings import KafkaSettings
from tests.virtual_time import in_virtual_time, now_s


def fold() -> Any:
    return Fold(KafkaSettings(bootstrap_servers="kafka:9092"), Policy())


@pytest.mark.parametrize(
    ("error", "key", "pauses_s"),
    [
        # As the library wraps it.
        (
            KafkaError("Unexpected error during coordination InvalidSessionTimeoutError()"),
            "set kafka.session_timeout_s",
            [2, 4, 8, 16, 32, 60, 60],
        ),
        (KafkaConnectionError("no answer"), "none, it is tried again", [1] * 7),
    ],
)
@in_virtual_time
async def test_a_session_timeout_that_the_brokers_refuse_names_its_key_and_is_tried_ever_less_often(
    error: KafkaError, key: str, pauses_s: list[float]
) -> None:
    a_fold, stop, tried_at_s = fold(), asyncio.Event(), []

    async def refused(_stop: asyncio.Event) -> None:
        tried_at_s.append(now_s())
        if len(tried_at_s) > len(pauses_s):
            stop.set()
        raise error

    a_fold._run_consumer = refused
    with structlog.testing.capture_logs() as lines:
        await a_fold.run(stop)

    assert [round(later - earlier) for earlier, later in itertools.pairwise(tried_at_s)] == pauses_s
    assert lines[0]["event"] == "fold_consumer_failed"
    assert lines[0]["remedy"].startswith(key)
    assert ("kafka.session_timeout_s" in a_fold.statistics().problem) == key.startswith("set")


@in_virtual_time
async def test_a_refusal_after_a_day_of_work_is_tried_again_soon() -> None:
    a_fold, stop, ended_at_s = fold(), asyncio.Event(), []

    async def refused(_stop: asyncio.Event) -> None:
        ended_at_s.append(now_s())
        if len(ended_at_s) == 7:
            await asyncio.sleep(86_400.0)
            ended_at_s.append(now_s())
        elif len(ended_at_s) > 8:
            stop.set()
        raise KafkaError("Unexpected error during coordination InvalidSessionTimeoutError()")

    a_fold._run_consumer = refused
    await a_fold.run(stop)

    assert round(ended_at_s[-1] - ended_at_s[-2]) == 2


@in_virtual_time
async def test_a_transaction_timeout_that_the_brokers_refuse_names_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_fold, tries = fold(), 0

    async def refused(*_: object) -> None:
        nonlocal tries
        tries += 1
        raise InvalidTransactionTimeout

    monkeypatch.setattr(stage, "take_over", refused)
    with structlog.testing.capture_logs() as lines:
        owning = asyncio.create_task(
            a_fold._own(SimpleNamespace(), TopicPartition("ota.observations.v1", 3), stage._Owned())
        )
        await asyncio.sleep(600)
        owning.cancel()

    (line,) = lines
    assert line["event"] == "take_over_failed"
    assert line["remedy"].startswith("set kafka.transaction_timeout_s to what the brokers allow")
    assert "kafka.transaction_timeout_s" in a_fold.statistics().problem
    assert tries < 20


async def _taking_over_without_success(
    monkeypatch: pytest.MonkeyPatch, a_fold: Any, error: Exception, for_s: float
) -> list[tuple[str, str]]:
    async def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(stage, "take_over", failing)
    with structlog.testing.capture_logs() as lines:
        owning = [
            asyncio.create_task(
                a_fold._own(SimpleNamespace(), TopicPartition("ota.observations.v1", number), stage._Owned())
            )
            for number in range(3)
        ]
        await asyncio.sleep(for_s)
        for each in owning:
            each.cancel()
    assert all(line["remedy"] for line in lines)
    return [(line["event"], line["log_level"]) for line in lines]


@pytest.mark.parametrize("error", [KafkaConnectionError("no answer"), TimeoutError()])
@in_virtual_time
async def test_take_overs_that_wait_for_an_absent_kafka_are_no_alarm(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    a_fold = fold()
    a_fold._reach.outage = lambda: Outage(since_ms=1, error="no answer")

    told = await _taking_over_without_success(monkeypatch, a_fold, error, 600)

    assert told == [("take_over_waits", "info")]


@in_virtual_time
async def test_take_overs_that_get_no_answer_while_kafka_is_there_are_an_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = await _taking_over_without_success(monkeypatch, fold(), TimeoutError(), 600)

    assert told == [("take_over_waits", "info"), ("take_over_failed", "warning")]


@in_virtual_time
async def test_take_overs_that_are_answered_with_an_error_are_an_alarm_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = await _taking_over_without_success(monkeypatch, fold(), UnknownError("refused"), 30)

    assert told == [("take_over_failed", "warning")]


@in_virtual_time
async def test_a_worker_that_ends_because_kafka_did_not_answer_says_so_and_what_comes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a_fold = fold()

    async def unanswered(*_: object) -> None:
        raise TimeoutError

    async def closed() -> None:
        return

    worker = SimpleNamespace(
        expect_hole=lambda _: None, next_offset=0, run=unanswered, has_committed=False, queued=0
    )

    async def taken_over(*_: object) -> Any:
        return worker, SimpleNamespace(close=closed)

    monkeypatch.setattr(stage, "take_over", taken_over)
    place, owned = TopicPartition("ota.observations.v1", 3), stage._Owned()
    a_fold._owned[3] = owned
    with structlog.testing.capture_logs() as lines:
        owning = asyncio.create_task(
            a_fold._own(SimpleNamespace(seek=lambda *_: None, resume=lambda _: None), place, owned)
        )
        await asyncio.sleep(0.05)
        owning.cancel()

    (line,) = lines
    assert (line["event"], line["error"]) == ("fold_worker_ended", "Kafka did not answer (TimeoutError)")
    assert line["remedy"] == "none, its partition is taken over anew by itself"
