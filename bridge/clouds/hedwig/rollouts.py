"""Which jobs are read and searched, and in which order, so that a device is told of by its newest task alone.

The jobs of one product's module are a group: a later task of one of them replaces an earlier one. They are read from
the newest to the oldest, and a device that a newer job told of is left out of the older ones. What was read once is
remembered, so that a finished job is not read again and a lookup need not search it. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from bridge.clouds.hedwig.answers import Job, Task
from bridge.clouds.hedwig.status import JOB_FINISHED

DEVICES_MOST: Final = 50_000
"""Devices' modules whose job is remembered, some 200 bytes each; the one seen longest ago gives way."""


class Group(Struct, frozen=True, kw_only=True):
    """The jobs that follow each other on one module of one product, the newest first."""

    module: str | None
    jobs: tuple[Job, ...]


class Search(Struct, frozen=True, kw_only=True):
    """The jobs to search for a device's task, the newest first. Whole: one that is in none of them is in no other."""

    jobs: tuple[Job, ...]
    is_whole: bool


def is_finished(job: Job) -> bool:
    """Whether nothing of a job changes any more."""
    return job.status in JOB_FINISHED


def groups_of(jobs: Iterable[tuple[tuple[str | None, str | None], Sequence[Job]]]) -> list[Group]:
    """Return the groups of all jobs, which are given by package: the product and module it is for, and its jobs."""
    found: dict[tuple[str | None, str | None], list[Job]] = {}
    for target, its_jobs in jobs:
        found.setdefault(target, []).extend(its_jobs)
    return [Group(module=module, jobs=newest_first(group)) for (_, module), group in found.items() if group]


def newest_first(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Return jobs in the order in which they are searched."""
    return tuple(sorted(jobs, key=lambda job: job.age_order, reverse=True))


def newest_task(tasks: Iterable[Task]) -> Task | None:
    """Return the task that tells the state; where no times are told, the one listed first."""
    return max(tasks, key=lambda task: task.created, default=None)


class JobMemory:
    """Which finished jobs were read to their end, and in which job each device's newest task was seen.

    A reading is believed for `believed_ms`: a list that moved meanwhile, or a cloud that lagged, may have hidden one.
    """

    def __init__(
        self, *, now_ms: Callable[[], int], believed_ms: int, devices_most: int = DEVICES_MOST
    ) -> None:
        self._now_ms = now_ms
        self._believed_ms = believed_ms
        self._read: dict[str, tuple[str, int]] = {}
        self._seen_in: dict[tuple[str, str | None], str] = {}
        self._devices_most = devices_most
        self._has_forgotten = False

    def to_read(self, group: Group) -> tuple[Job, ...]:
        """Return the jobs of a group to read: from the newest to the oldest that may tell something new."""
        news = [number for number, job in enumerate(group.jobs) if not self._is_read(job)]
        return group.jobs[: news[-1] + 1] if news else ()

    def was_read(self, job: Job) -> None:
        """A job was read to its end."""
        if is_finished(job) and not self._is_read(job):
            self._read[job.job_id] = (job.status, self._now_ms() + self._believed_ms)

    def keep(self, groups: Iterable[Group]) -> None:
        """Forget jobs that are not there any more."""
        there = {job.job_id for group in groups for job in group.jobs}
        self._read = {job_id: read for job_id, read in self._read.items() if job_id in there}

    def saw(self, device_id: str, module: str | None, job_id: str) -> None:
        """The newest task of a device's module was found in a job."""
        self._seen_in.pop((device_id, module), None)
        self._seen_in[device_id, module] = job_id
        if len(self._seen_in) > self._devices_most:
            del self._seen_in[next(iter(self._seen_in))]
            self._has_forgotten = True

    def to_search(self, jobs: Iterable[Job], device_id: str, module: str, *, most: int) -> Search:
        """Return where a device's newest task is to be looked for.

        All jobs that go on, the one where it was seen, and the newest finished ones that were not read yet: it would
        be remembered if it were in one that was. After devices had to be forgotten, read ones are searched as well.
        """
        seen_in = self._seen_in.get((device_id, module))
        ordered = newest_first(jobs)
        unread = [job.job_id for job in ordered if is_finished(job) and not self._is_read(job)]
        finished = unread
        if seen_in is None and self._has_forgotten:
            finished = [job.job_id for job in ordered if is_finished(job)]
        wanted = {seen_in, *finished[:most]}
        return Search(
            jobs=tuple(job for job in ordered if not is_finished(job) or job.job_id in wanted),
            is_whole=set(unread) <= wanted,
        )

    def _is_read(self, job: Job) -> bool:
        status, until_ms = self._read.get(job.job_id, ("", 0))
        return is_finished(job) and status == job.status and self._now_ms() < until_ms
