"""Closing what the client opened: an answer, no answer, and never a thread of the client's left inside ours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import _pulsar
import pytest

from consumer import pulsar_client
from consumer.pulsar_client import BATCH_SHARE, BatchLimits, close, subscribe
from tests.gateway_messages import account


class Opened:
    """A consumer whose client answers from a thread, and lets go of the callback when it is told to."""

    def __init__(self, result: _pulsar.Result | None) -> None:
        self._result = result
        self.let_go = threading.Event()
        self.has_answered = threading.Event()

    def close_async(self, callback: Callable[[_pulsar.Result], Any]) -> None:
        threading.Thread(target=self._answer, args=(callback,)).start()

    def _answer(self, callback: Callable[[_pulsar.Result], Any]) -> None:
        if self._result is not None:
            callback(self._result)
        self.has_answered.set()
        self.let_go.wait()


@pytest.mark.parametrize(
    ("result", "told"), [(_pulsar.Result.Ok, None), (_pulsar.Result.ConnectError, "ConnectError")]
)
def test_a_close_ends_when_the_client_has_let_go_of_the_answer(
    result: _pulsar.Result, told: str | None
) -> None:
    opened = Opened(result)
    closed: list[str | None] = []
    closing = threading.Thread(target=lambda: closed.append(close(opened, by=lambda: math.inf)))
    closing.start()
    opened.has_answered.wait()
    closing.join(0.05)
    assert closing.is_alive()

    opened.let_go.set()
    closing.join()
    assert closed == [told]


def test_a_client_that_does_not_answer_or_let_go_is_given_up_in_time() -> None:
    for result, told, within_s in ((None, "no answer in time", 0.05), (_pulsar.Result.Ok, None, 2.0)):
        opened = Opened(result)
        by = time.monotonic() + within_s
        assert close(opened, by=lambda by=by: by) == told
        opened.let_go.set()


def test_a_stop_that_comes_during_a_close_shortens_it() -> None:
    opened = Opened(None)
    by = math.inf
    closed: list[str | None] = []
    closing = threading.Thread(target=lambda: closed.append(close(opened, by=lambda: by)))
    closing.start()
    opened.has_answered.wait()

    by = time.monotonic()
    closing.join()

    assert closed == ["no answer in time"]
    opened.let_go.set()


class Asked:
    """What a client is asked to subscribe with; its compiled configuration shows nothing."""

    def __init__(self) -> None:
        self.told: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[[Any], None]:
        return lambda value: self.told.__setitem__(name, value)

    def subscribe_async(
        self,
        topic: str,
        subscription: str,
        _configuration: object,
        answered: Callable[[_pulsar.Result, object], None],
    ) -> None:
        self.told |= {"topic": topic, "subscription": subscription}
        answered(_pulsar.Result.Ok, "the consumer")


def test_what_is_fetched_ahead_is_shared_by_the_source_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked()
    monkeypatch.setattr(pulsar_client._pulsar, "ConsumerConfiguration", lambda: asked)
    monkeypatch.setattr(pulsar_client._pulsar, "BatchReceivePolicy", lambda *numbers: numbers)
    reader = account(receive_ahead_messages=400)

    assert subscribe(asked, reader, ["event"], wanted=lambda: True) == "the consumer"  # type: ignore[arg-type]

    assert asked.told["receiver_queue_size"] == 400
    assert asked.told["max_total_receiver_queue_size_across_partitions"] == 400
    assert asked.told["consumer_type"] == _pulsar.ConsumerType.Failover
    most_messages, most_bytes, _ = asked.told["batch_receive_policy"]
    assert BatchLimits(most_messages, most_bytes) == BatchLimits.of(reader.gateway)
    assert most_messages == 400
    assert most_bytes == reader.gateway.max_unconfirmed_bytes // BATCH_SHARE


class Sized:
    """A message of so many bytes."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    def length(self) -> int:
        return self._size_bytes


def is_full(limits: BatchLimits, *sizes_bytes: int) -> bool:
    return limits.is_full([Sized(size_bytes) for size_bytes in sizes_bytes])  # type: ignore[misc]


def test_a_batch_is_full_before_it_has_all_that_may_be_fetched_ahead() -> None:
    limits = BatchLimits.of(account(receive_ahead_messages=1000).gateway)
    # Eleven source partitions of ninety messages each are less than a thousand.
    assert is_full(limits, *[600] * 11 * (1000 // 11))
    assert is_full(limits, *[600] * 500)
    assert not is_full(limits, *[600] * 499)
    assert not is_full(limits)


def test_a_batch_that_was_cut_off_by_its_bytes_is_full() -> None:
    for unconfirmed_bytes, message_bytes in ((1024 * 1024, 600), (1024 * 1024, 130_000), (3, 600)):
        limits = BatchLimits.of(account(max_unconfirmed_bytes=unconfirmed_bytes).gateway)
        cut_off = max(1, limits.most_bytes // message_bytes)
        assert cut_off < limits.most_messages // 2
        assert is_full(limits, *[message_bytes] * cut_off)
    assert not is_full(BatchLimits.of(account().gateway), *[600] * cut_off)


@pytest.mark.parametrize("most", [1, 3, 4, 100, 3999, 4000, 100_000])
def test_a_batch_is_a_part_of_what_may_be_unconfirmed_and_never_without_a_limit(most: int) -> None:
    """A limit of zero is none for the client, and would have each batch look full for us."""
    limits = BatchLimits.of(account(max_unconfirmed_messages=most, max_unconfirmed_bytes=most).gateway)
    assert 1 <= limits.most_messages <= max(1, most / BATCH_SHARE)
    assert 1 <= limits.most_bytes <= max(1, most / BATCH_SHARE)
