"""The model's truth: what one channel of a device really does, and what its cloud tells of it, late and in its own way.

Times are Unix ms of one true clock. The cloud's answers follow the truth by the cloud's style and by nothing else:
whoever lies or loses is `adversary.py`.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

TERMINAL: Final = ("succeeded", "failed", "timed_out", "cancelled")
REST: Final = ("idle", "available")


class Style(Struct, frozen=True, kw_only=True):
    """How a cloud tells what it knows."""

    lag_s: float
    """Its API shows a device as it was this long ago: its own pushes are faster."""
    version_lag_s: float
    """The running version is told this late."""
    resets_after_s: float | None
    """An outcome gives way to a rest status after this; None: it is kept until the next task."""
    repeats_s: float
    """In this first time of a task the answers still tell the outcome of the task before."""
    offers_next: bool
    """A later version is always on offer, also the moment an upgrade has succeeded."""
    undivided: bool
    """One value covers download and installation."""
    names_tasks: bool
    tells_target: bool
    """Whether answers about an open task name the version it installs."""
    shows_cancelled: bool
    """Whether a cancelled task shows as such; else the channel is at rest."""


class Task(Struct, kw_only=True):
    """One upgrade that really happens. What the bridge cannot know of it is noted here as it happens."""

    number: int
    from_version: str
    target_version: str
    began_at_ms: int
    status: str = "pending"
    progress: int = 0
    ended_at_ms: int | None = None
    is_merged: bool = False
    """The bridge still showed the attempt before when it began, or heard of that one only afterwards."""
    was_lied_about: bool = False
    """A lie was told while it was the latest task."""
    was_seen: bool = False
    """The bridge showed its attempt open when it ended."""
    was_told: bool = False
    """Its true outcome was pushed into its open attempt, before any later answer."""
    knew_version: bool = False
    """The bridge knew which version ran before it."""
    knew_target: bool = False
    """The bridge knew which version it installs."""
    false_end: str | None = None
    """A claim that was no task's, which then an answer confirmed that lied as well."""
    false_claims: int = 0
    """Claims that were no task's, while it was the latest one."""


class TrueChannel:
    """One firmware channel: its tasks, the version that runs, and the history its cloud's answers come from."""

    def __init__(self, name: str, style: Style, now_ms: int) -> None:
        self.name = name
        self.style = style
        self.tasks: list[Task] = []
        self.was_lied_about = False
        self._newest = 0
        self._versions: list[tuple[int, str]] = [(now_ms - 10**9, "1.0")]
        self._history: list[tuple[int, Task | None, str, int]] = [(now_ms - 10**9, None, "idle", 0)]

    @property
    def version(self) -> str:
        return self._versions[-1][1]

    @property
    def task(self) -> Task | None:
        """The latest task, open or ended."""
        return self.tasks[-1] if self.tasks else None

    @property
    def open_task(self) -> Task | None:
        task = self.task
        return task if task is not None and task.ended_at_ms is None else None

    @property
    def success_was_told(self) -> bool:
        """Whether the latest task succeeded, the bridge was told in time, and nobody lied."""
        task = self.task
        if task is None or task.status != "succeeded" or not task.was_told:
            return False
        return not (task.is_merged or task.was_lied_about)

    @property
    def offer(self) -> str | None:
        return self._offer(self.version)

    # What happens.

    def start(self, now_ms: int) -> Task:
        task = Task(
            number=len(self.tasks) + 1,
            from_version=self.version,
            target_version=self._offer(self.version) or self._next(),
            began_at_ms=now_ms,
        )
        self._newest = max(self._newest, int(task.target_version[2:]))
        self.tasks.append(task)
        self._note(now_ms)
        return task

    def move(self, now_ms: int, status: str) -> None:
        task = self.tasks[-1]
        task.status = status
        if status in TERMINAL:
            task.ended_at_ms = now_ms
        if status == "succeeded":
            self._versions.append((now_ms, task.target_version))
        self._note(now_ms)

    def progress(self, now_ms: int, percent: int) -> None:
        self.tasks[-1].progress = percent
        self._note(now_ms)

    def upgrade_silently(self, now_ms: int) -> None:
        """An app, or the device itself, installs a version that no task names."""
        self._newest += 1
        self._versions.append((now_ms, f"1.{self._newest}"))

    # What the cloud tells.

    def answer(self, now_ms: int) -> dict[str, Any]:
        """The fields of an observation: the answer to a question asked at `now_ms`."""
        style = self.style
        at_ms = now_ms - round(style.lag_s * 1000)
        version = _latest(self._versions, now_ms - round((style.lag_s + style.version_lag_s) * 1000))[1]
        began_ms, task, status, progress = _latest(self._history, at_ms)
        if task is not None and status not in TERMINAL and at_ms - task.began_at_ms < style.repeats_s * 1000:
            before = [entry for entry in self._history if entry[0] < task.began_at_ms]
            began_ms, task, status, progress = before[-1]

        if self._is_at_rest(began_ms, status, at_ms):
            offer = self._offer(version)
            return {
                "status": "idle" if offer is None else "available",
                "current_version": version,
                "target_version": offer,
            }

        assert task is not None
        is_open = status not in TERMINAL
        if style.undivided and status == "downloading":
            status = "installing"
        return {
            "status": status,
            "undivided": style.undivided and is_open and status == "installing",
            "current_version": version,
            "target_version": task.target_version if style.tells_target else None,
            "task_id": f"task-{task.number}" if style.names_tasks else None,
            "progress": progress if is_open and status != "pending" else None,
        }

    def _is_at_rest(self, since_ms: int, status: str, at_ms: int) -> bool:
        if status == "idle":
            return True
        if status not in TERMINAL:
            return False
        if status == "cancelled" and not self.style.shows_cancelled:
            return True
        resets_after_s = self.style.resets_after_s
        return resets_after_s is not None and at_ms - since_ms >= resets_after_s * 1000

    def _offer(self, version: str) -> str | None:
        """What is installed next: what the last task did not bring, else a later version where there is one."""
        if self.tasks and int(self.tasks[-1].target_version[2:]) > int(version[2:]):
            return self.tasks[-1].target_version
        return self._next() if self.style.offers_next else None

    def _next(self) -> str:
        return f"1.{self._newest + 1}"

    def _note(self, now_ms: int) -> None:
        task = self.tasks[-1]
        self._history.append((now_ms, task, task.status, task.progress))


def _latest(history: list[Any], at_ms: int) -> Any:
    """The last entry not after `at_ms`."""
    return next((entry for entry in reversed(history) if entry[0] <= at_ms), history[0])
