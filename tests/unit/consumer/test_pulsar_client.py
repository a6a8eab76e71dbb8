"""Closing what the client opened: an answer, no answer, and never a thread of the client's left inside ours."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any

import _pulsar
import pytest

from consumer.pulsar_client import close


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
