"""The jobs that tasks belong to: which firmware they roll out, and how long a device may take. Asked for seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from msgspec import Struct

from bridge.clouds.enos.answers import Job, job_of
from bridge.clouds.errors import CloudError

log = structlog.get_logger(__name__)

JOBS_MOST: Final = 10_000
"""Jobs remembered, some 300 bytes each; the one told longest ago gives way."""

ASK_AGAIN_MS: Final = 300_000
"""How long a job stays unknown that could not be told; what a known one says of its firmware never changes."""


class _Remembered(Struct, frozen=True):
    job: Job | None
    until_ms: int | None


class Jobs:
    """The jobs of one account. `ask` gives the entry of one job, or raises CloudError."""

    def __init__(
        self, account: str, ask: Callable[[str], Awaitable[object]], *, local_ms: Callable[[], int]
    ) -> None:
        self._account = account
        self._ask = ask
        self._local_ms = local_ms
        self._known: dict[str, _Remembered] = {}
        self._one_at_a_time = asyncio.Lock()

    async def find(self, job_id: str) -> Job | None:
        """Return a job; None where it cannot be told. Good to have: no lookup fails by it."""
        if (known := self._remembered(job_id)) is not None:
            return known.job
        async with self._one_at_a_time:
            if (known := self._remembered(job_id)) is not None:
                return known.job
            try:
                job = job_of(await self._ask(job_id))
            except CloudError as error:
                job = None
                log.info(
                    "job_not_told",
                    account=self._account,
                    job_id=job_id,
                    error=error.error,
                    code=error.code,
                    text=error.text,
                )
            self._remember(job_id, job)
            return job

    def learn(self, entries: list[dict[str, object]]) -> None:
        """Take a page of the list of jobs into account."""
        for entry in entries:
            if (job := job_of(entry)) is not None:
                self._remember(job.job_id, job)

    def _remembered(self, job_id: str) -> _Remembered | None:
        known = self._known.get(job_id)
        return (
            known
            if known is not None and (known.until_ms is None or self._local_ms() < known.until_ms)
            else None
        )

    def _remember(self, job_id: str, job: Job | None) -> None:
        self._known.pop(job_id, None)
        self._known[job_id] = _Remembered(job, None if job is not None else self._local_ms() + ASK_AGAIN_MS)
        if len(self._known) > JOBS_MOST:
            del self._known[next(iter(self._known))]
