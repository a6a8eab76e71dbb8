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
from consumer.pulsar_client import close, full_batch, most_in_batch, subscribe
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
    assert most_messages == most_in_batch(reader.gateway) == 400
    assert most_bytes == reader.gateway.max_unconfirmed_bytes // 4


def test_a_batch_is_full_before_it_has_all_that_may_be_fetched_ahead() -> None:
    # Eleven source partitions of ninety messages each are less than a thousand.
    assert full_batch(account(receive_ahead_messages=1000).gateway) <= 11 * (1000 // 11)
