"""Upgrades as the clouds keep them that have jobs: packages, jobs that roll one out, and a task for each device.

What a task shows is what REST shows: the truth, a little late. Ids are numbers here; each cloud writes them its way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from msgspec import Struct

from schemas.vocabulary import PackageState, Status

_STATE_SHARES: tuple[tuple[PackageState, float], ...] = (
    ("usable", 0.85),
    ("unverified", 0.05),
    ("checking", 0.05),
    ("rejected", 0.05),
)


class FirmwarePackage(Struct, frozen=True, kw_only=True):
    """A version of a channel's firmware for one product."""

    number: int
    product_id: str
    channel: str
    version: str
    state: PackageState


class Job(Struct, kw_only=True):
    """The roll-out of one package by one campaign."""

    number: int
    package: FirmwarePackage
    created_at_s: float
    tasks: list[Task]


class Task(Struct, kw_only=True):
    """One device's upgrade in a job. REST knows of it once it `is_shown`."""

    number: int
    job: Job
    device_id: str
    channel: str
    from_version: str
    target_version: str
    created_at_s: float
    updated_at_s: float
    status: Status = "pending"
    progress: int = 0
    reason: str | None = None
    is_shown: bool = False


class JobBook:
    """All packages, jobs and tasks of one account, in order of creation."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.packages: list[FirmwarePackage] = []
        self.jobs: list[Job] = []
        self._tasks = 0
        self._packages: dict[tuple[str, str, str], FirmwarePackage] = {}
        self._jobs: dict[tuple[str, int], Job] = {}
        self._of_device: dict[str, list[Task]] = {}

    def open_task(
        self,
        campaign: str,
        *,
        device_id: str,
        product_id: str,
        channel: str,
        from_version: str,
        target_version: str,
        now_s: float,
    ) -> Task:
        """Add a device's task to the campaign's job for its package; not shown yet."""
        job = self._job(campaign, self._package(product_id, channel, target_version), now_s)
        self._tasks += 1
        task = Task(
            number=self._tasks,
            job=job,
            device_id=device_id,
            channel=channel,
            from_version=from_version,
            target_version=target_version,
            created_at_s=now_s,
            updated_at_s=now_s,
        )
        job.tasks.append(task)
        self._of_device.setdefault(device_id, []).append(task)
        return task

    def tasks_of(self, device_id: str) -> Sequence[Task]:
        """A device's tasks that REST knows, the oldest first."""
        return [task for task in self._of_device.get(device_id, ()) if task.is_shown]

    def _package(self, product_id: str, channel: str, version: str) -> FirmwarePackage:
        key = (product_id, channel, version)
        if key not in self._packages:
            package = FirmwarePackage(
                number=len(self.packages) + 1,
                product_id=product_id,
                channel=channel,
                version=version,
                state=_state(f"{self._seed}/{'/'.join(key)}"),
            )
            self.packages.append(package)
            self._packages[key] = package
        return self._packages[key]

    def _job(self, campaign: str, package: FirmwarePackage, now_s: float) -> Job:
        key = (campaign, package.number)
        if key not in self._jobs:
            job = Job(number=len(self.jobs) + 1, package=package, created_at_s=now_s, tasks=[])
            self.jobs.append(job)
            self._jobs[key] = job
        return self._jobs[key]


def _state(text: str) -> PackageState:
    die = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    for state, share in _STATE_SHARES:
        die -= share
        if die < 0:
            return state
    return "usable"
