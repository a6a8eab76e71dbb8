"""Sending a request again: the table of `errors.py`, with jitter. One mechanism for all clouds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from bridge.clouds.errors import RETRIES, RetryRule, Transient

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Run `attempt`, a request that changes nothing, until it succeeds or the table is exhausted.

    Each kind of error has its own count. `jitter` returns 0..1. Raises the last error.
    """
    failures: dict[str, int] = {}
    while True:
        try:
            return await attempt()
        except Transient as error:
            rule = RETRIES[error.error]
            count = failures[error.error] = failures.get(error.error, 0) + 1
            if count >= rule.tries:
                raise
            log.debug("request_repeated", api=error.api, error=error.error, code=error.code, tries=count)
            await sleep(wait_s(rule, count, jitter()))


def wait_s(rule: RetryRule, failures: int, jitter: float) -> float:
    """Return the wait after `failures` failures: doubled each time, between half and the whole of it."""
    full_s = min(rule.most_wait_s, rule.first_wait_s * 2.0 ** (failures - 1))
    return full_s * (0.5 + jitter / 2)
