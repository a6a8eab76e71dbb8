"""From Hedwig's tasks and versions to observations. Pure but for the clock."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.evidence import evidence
from bridge.clouds.hedwig.answers import TASK_FIELDS, Module, Task
from bridge.clouds.hedwig.lists import MODULES
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.hedwig.status import task_state
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import UNTOLD
from schemas import PHASES, Observation, Package


class Placed(Struct, frozen=True, kw_only=True):
    """A task with what it does not say itself: which module, how its job is, and by which call it was told."""

    task: Task
    channel: str | None
    job_status: str | None
    api: str


class Telling:
    """Makes one account's observations, of which each is about one channel."""

    def __init__(self, account: ApiAccount[HedwigCredentials, HedwigApi], clock: VendorClock) -> None:
        self._account = account
        self._clock = clock

    def task(
        self, placed: Placed, asked_at_ms: int, *, module: Module | None = None, origin: str = "lookup"
    ) -> Observation:
        """What a task tells; `module` has the version that runs, which no task tells."""
        task, api = placed.task, self._account.api
        state = task_state(
            task.status,
            description=task.description,
            progress=task.progress,
            job_status=placed.job_status,
            reports_download=task.product_key in api.download_products,
            timeout_words=api.timeout_words,
        )
        raw: dict[str, Any] = dict(task.raw)
        if module is not None:
            raw |= {"moduleName": module.name, "moduleVersion": module.version}
        if placed.job_status is not None:
            raw["jobStatus"] = placed.job_status
        return Observation(
            device_id=task.device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            product_id=task.product_key or (None if module is None else module.product_key),
            channel=placed.channel,
            kind="versions" if state.status is None else "status",
            status=state.status,
            vendor_status=task.status or None,
            undivided=state.undivided,
            progress=task.progress if state.status and PHASES[state.status] == "active" else None,
            current_version=None if module is None else module.version,
            target_version=task.target_version,
            task_id=task.task_id,
            package=None if task.firmware_id is None else Package(id=task.firmware_id, state=UNTOLD),
            needs_confirmation=state.needs_confirmation,
            vendor_timeout_s=task.timeout_s,
            reason=state.reason,
            asked_at_ms=asked_at_ms,
            observed_at_ms=self._clock.local_ms(),
            evidence=evidence(origin, placed.api, raw, TASK_FIELDS),
        )

    def module(self, device_id: str, module: Module, asked_at_ms: int, *, is_idle: bool) -> Observation:
        """What a module without a task tells: its version, and that it is idle, where that is sure."""
        return Observation(
            device_id=device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            product_id=module.product_key,
            channel=module.name,
            kind="status" if is_idle else "versions",
            status="idle" if is_idle else None,
            current_version=module.version,
            asked_at_ms=asked_at_ms,
            observed_at_ms=self._clock.local_ms(),
            evidence=evidence("lookup", MODULES.action, module.raw, TASK_FIELDS),
        )
