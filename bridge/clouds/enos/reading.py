"""What one reading of a device says: which of its tasks counts, and what that and the device's row mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog
from msgspec import Struct

from bridge.clouds.enos.answers import DeviceRow, Task
from bridge.clouds.enos.status import FLAGS, TASKS, UNDIVIDED, WAITING, reason_of, task_status
from schemas import PHASES, Phase, Reason, Status

log = structlog.get_logger(__name__)


class Reading(Struct, frozen=True, kw_only=True):
    """One look at a device. `task` is the one that counts, None where it has none."""

    row: DeviceRow
    task: Task | None
    status: Status | None
    vendor_status: str | None
    undivided: bool
    progress: int | None
    reason: Reason | None
    asked_at_ms: int
    past: str | None = None
    """The task that does not count although it is the newest: it ended before one that was taken back."""

    @property
    def phase(self) -> Phase:
        """What kind of status it is."""
        return "unknown" if self.status is None else PHASES[self.status]

    @property
    def statement(self) -> str:
        """What it says, whenever it was said: two readings agree where this is the same."""
        task, row = self.task, self.row
        told = None if task is None else (task.task_id, task.updated_at_ms)
        return repr((self.status, self.vendor_status, told, row.version, row.is_upgrading))

    @property
    def running(self) -> Task | None:
        """The task that waits or is worked on."""
        return self.task if self.phase in ("pending", "active") else None


def read(
    row: DeviceRow,
    tasks: Iterable[Task],
    *,
    timed_out: Sequence[str],
    asked_at_ms: int,
    past: str | None = None,
) -> Reading:
    """Return what a row and the tasks of its device key say, as asked at that time of the vendor's clock.

    `past` is the id of a task that ended before one that was taken back: it says nothing of how that one ended.
    """
    task = newest(task for task in tasks if is_of(task, row))
    if task is None or task.task_id == past:
        upgrading = row.is_upgrading
        return Reading(
            row=row,
            task=None,
            status=None if upgrading is None else FLAGS[upgrading],
            vendor_status=None if upgrading is None else str(upgrading).lower(),
            undivided=upgrading is True,
            progress=None,
            reason=None,
            asked_at_ms=asked_at_ms,
            past=past,
        )

    status = task_status(task.status, task.progress, task.description, timed_out)
    is_failure = task.progress is not None and task.progress < 0
    if is_failure and TASKS.get(task.status.lower()) != "failed":
        log.info("task_contradicts_itself", task_id=task.task_id, status=task.status, progress=task.progress)
    return Reading(
        row=row,
        task=task,
        status=status,
        vendor_status=task.status[:64] or None,
        undivided=task.status.lower() in UNDIVIDED and not is_failure,
        progress=None if is_failure else task.progress,
        reason=reason_of(status, task.progress, task.description),
        asked_at_ms=asked_at_ms,
    )


def is_of(task: Task, row: DeviceRow) -> bool:
    """Return whether a task is a device's: device keys are unique only within a product."""
    if task.asset_id is not None:
        return task.asset_id == row.asset_id
    return (task.product_key, task.device_key) == (row.product_key, row.device_key)


def newest(tasks: Iterable[Task]) -> Task | None:
    """Return the task that counts: the one of which there is the latest news.

    Except that a device does one upgrade at a time: what it works on goes before what waits behind it.
    """
    known = list(tasks)
    latest = max(known, key=_age, default=None)
    if latest is None or not _waits(latest):
        return latest
    begun = max((task for task in known if not _waits(task)), key=_age, default=None)
    return begun if begun is not None and _is_worked_on(begun) else latest


def _age(task: Task) -> tuple[int, int, str]:
    """Order by the latest news; by the id where that is the same, so that every reading says the same."""
    return task.updated_at_ms, len(task.task_id), task.task_id


def _is_negative(task: Task) -> bool:
    return task.progress is not None and task.progress < 0


def _waits(task: Task) -> bool:
    return task.status.lower() in WAITING and not _is_negative(task)


def _is_worked_on(task: Task) -> bool:
    return task.status.lower() in UNDIVIDED and not _is_negative(task)
