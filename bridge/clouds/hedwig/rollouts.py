"""In which order jobs are read, so that a device is told of by its newest task alone. Pure.

The jobs of one product's module are a group: a later task of one of them replaces an earlier one. They are read from
the newest to the oldest, and a device that a newer job told of is left out of the older ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from bridge.clouds.hedwig.answers import Job, Task
from bridge.clouds.hedwig.status import JOB_FINISHED


class Group(Struct, frozen=True, kw_only=True):
    """The jobs that follow each other on one module of one product, the newest first."""

    module: str | None
    jobs: tuple[Job, ...]


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


class ReadJobs:
    """Which finished jobs were read to their end: they are not read again, unless an older one has to be."""

    def __init__(self) -> None:
        self._read: dict[str, str] = {}

    def to_read(self, group: Group) -> tuple[Job, ...]:
        """Return the jobs of a group to read: from the newest to the oldest that may tell something new."""
        news = [number for number, job in enumerate(group.jobs) if not self._is_done(job)]
        return group.jobs[: news[-1] + 1] if news else ()

    def was_read(self, job: Job) -> None:
        """A job was read to its end."""
        if is_finished(job):
            self._read[job.job_id] = job.status

    def keep(self, groups: Iterable[Group]) -> None:
        """Forget jobs that are not there any more."""
        there = {job.job_id for group in groups for job in group.jobs}
        self._read = {job_id: status for job_id, status in self._read.items() if job_id in there}

    def _is_done(self, job: Job) -> bool:
        return is_finished(job) and self._read.get(job.job_id) == job.status
