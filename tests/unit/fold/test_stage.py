"""The stage without brokers: what it says, and how it waits, where they refuse."""

from __future__ import annotations

import asyncio
import itertools
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import InvalidTransactionTimeout, KafkaConnectionError, KafkaError

from bridge.fold import stage
from bridge.fold.policy import Policy
from bridge.fold.stage import Fold
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
