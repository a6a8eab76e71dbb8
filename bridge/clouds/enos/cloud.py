"""EnOS's Connection Service: the version of each device, the tasks that upgrade it, and the jobs behind them.

A lookup finds the device's row, then asks for the tasks of its device key; what ends something is read twice
(`agreement.py`). A sweep does the same for a page of devices at a time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Final

import structlog
from msgspec import Struct

from bridge.clouds.client import ApiClient, Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.device_file import device_ids
from bridge.clouds.enos.agreement import STALE_MS, Agreement
from bridge.clouds.enos.answers import DeviceRow, Task, package_of, task_of
from bridge.clouds.enos.device_list import DeviceList
from bridge.clouds.enos.dialect import EnosDialect
from bridge.clouds.enos.errors import JOB_NOT_FOUND
from bridge.clouds.enos.expression import is_quotable, one_of
from bridge.clouds.enos.jobs import Jobs
from bridge.clouds.enos.observing import observation
from bridge.clouds.enos.paging import Turned, list_call, turn, walk
from bridge.clouds.enos.reading import Reading
from bridge.clouds.enos.settings import EnosApi, EnosCredentials
from bridge.clouds.enos.token import login
from bridge.clouds.errors import CloudError, DeviceNotFound, DeviceUnsupported, Misunderstood, Unanswered
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Discovered, FirmwarePackage, Looked, Means

log = structlog.get_logger(__name__)

DEVICES_API: Final = "search-device-upgrade"
TASKS_API: Final = "search-task"
JOBS_API: Final = "search-job"
JOB_API: Final = "get-job"
FIRMWARE_API: Final = "get-firmware"

PAUSE_S: Final = STALE_MS / 1000 + 0.1
"""Between two readings that have to agree; the tenth makes up for clocks that count in whole milliseconds."""

STRANGE_MOST: Final = 3
"""Devices of one page whose tasks cannot be asked for; with more of them it is the API that is strange."""

READINGS_MOST: Final = 4
"""A device that says something else each time is asked again later."""


class _Told(Struct, frozen=True):
    """The tasks of some device keys, and when the first page of them was asked for."""

    tasks: Mapping[str, Sequence[Task]]
    asked_at_ms: int
    local_ms: int

    def of(self, row: DeviceRow) -> Sequence[Task]:
        """Return the tasks of a row's device key."""
        return self.tasks.get(row.device_key or "", ())


class EnosCloud:
    """See `Cloud`. EnOS pushes nothing: everything is found by sweeps and lookups."""

    has_sweep = True

    def __init__(self, account: ApiAccount[EnosCredentials, EnosApi], means: Means) -> None:
        self.clock = VendorClock(means.now_ms)
        self._account = account
        self._sleep = means.sleep
        self._size = account.api.page_size
        self._client = ApiClient(
            account.name, EnosDialect(account, self.clock), means, self.clock, login=login
        )
        self._devices = DeviceList(self._turn_to_devices, api=DEVICES_API)
        self._jobs = Jobs(account.name, self._ask_job, local_ms=self.clock.local_ms)
        self._agreement = Agreement(account.api.timed_out_words)
        self._has_understood = False

    async def lookup(self, device_id: str) -> Looked:
        """Find the device's row and its tasks; again after two seconds where they tell of an end."""
        for _ in range(READINGS_MOST):
            row = await self._devices.find(device_id)
            if row is None:
                raise DeviceNotFound("no page of the device list has it", api=DEVICES_API)
            if not is_quotable(row.device_key or ""):
                raise DeviceUnsupported("its deviceKey cannot be asked for", api=TASKS_API)

            told = await self._tasks_of([row])
            reading = self._agreement.read(row, told.of(row), asked_at_ms=told.asked_at_ms)
            if self._agreement.note(reading, at_ms=told.local_ms):
                return await self._looked("lookup", reading)
            await self._sleep(PAUSE_S)
        raise Unanswered(f"{READINGS_MOST} readings told as many different things", api=TASKS_API)

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the devices of the configured products, or from the file that stands in for it."""
        source = self._account.api.discovery
        if source == "file":
            async for ids in device_ids(self._account.api.discovery_file or ""):
                yield [Discovered(device_id=device_id) for device_id in ids]
        elif source == "api":
            async for _page, rows in self._devices.pages():
                yield [Discovered(device_id=row.asset_id, product_id=row.product_key) for row in rows]

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Read all devices with their tasks. Between its requests it gives empty pages, so that it can give way."""
        async for _page in self._read_jobs():
            yield ()
        async for page, rows in self._devices.pages():
            yield ()
            agreed, doubtful = await self._read(rows)
            yield [await self._looked("sweep", reading) for reading in agreed]
            if doubtful:
                await self._sleep(PAUSE_S)
                asked = {row.asset_id for row in doubtful}
                again = [row for row in await self._devices.page(page.number) if row.asset_id in asked]
                yield ()
                # What does not agree now either is left to the next sweep.
                agreed, _ = await self._read(again)
                yield [await self._looked("sweep", reading) for reading in agreed]

    async def package(self, package_id: str) -> FirmwarePackage | None:
        """Ask for a firmware; EnOS tells whether there is one, not in what state it is."""
        query = {"action": "get", "orgId": self._account.credentials.org_id, "firmwareId": package_id}
        call = Call(api=FIRMWARE_API, path=self._path("ota-firmwares"), query=query)
        try:
            reply = await self._client.ask(call)
        except CloudError as error:
            if error.code != str(JOB_NOT_FOUND):
                raise
            return package_of(package_id, None)
        return package_of(package_id, reply.result.get("data"))

    async def _read(self, rows: Sequence[DeviceRow]) -> tuple[list[Reading], list[DeviceRow]]:
        """Read the tasks of a page of devices; return what may be told, and the devices to be read once more."""
        askable = [row for row in rows if is_quotable(row.device_key or "")]
        if not askable:
            return [], []
        agreed: list[Reading] = []
        doubtful: list[DeviceRow] = []
        for row, told in await self._told_of(askable):
            reading = self._agreement.read(row, told.of(row), asked_at_ms=told.asked_at_ms)
            if self._agreement.note(reading, at_ms=told.local_ms):
                agreed.append(reading)
            else:
                doubtful.append(row)
        return agreed, doubtful

    async def _told_of(self, rows: Sequence[DeviceRow]) -> list[tuple[DeviceRow, _Told]]:
        """Ask for the tasks of a page of devices together; where that is not understood, for those of either half.

        So a device whose key alone is the trouble is found and left to the lookups, which no other device waits for.
        Raises Misunderstood where it is more than a few, or nobody's tasks were ever understood.
        """
        told: list[tuple[DeviceRow, _Told]] = []
        strange: list[DeviceRow] = []
        waiting = [rows]
        while waiting:
            together = waiting.pop()
            try:
                answer = await self._tasks_of(together)
            except Misunderstood as error:
                if error.api != TASKS_API:
                    raise
                if len(together) > 1:
                    middle = len(together) // 2
                    waiting += [together[middle:], together[:middle]]
                    continue
                strange += together
                if len(strange) > STRANGE_MOST or not (waiting or self._has_understood):
                    raise
                log.info(
                    "listed_device_not_told",
                    account=self._account.name,
                    device_id=together[0].asset_id,
                    error=error.error,
                    code=error.code,
                )
            else:
                self._has_understood = True
                told += [(row, answer) for row in together]
        return told

    async def _tasks_of(self, rows: Iterable[DeviceRow]) -> _Told:
        keys = sorted({row.device_key for row in rows if row.device_key is not None})
        expression = one_of("deviceKey", keys)
        local_ms = self.clock.local_ms()
        asked_at_ms: int | None = None
        tasks: dict[str, list[Task]] = {}

        async def turn_to(number: int) -> Turned:
            return await self._turn_to(TASKS_API, "ota-jobs", "searchTask", number, expression)

        async for page in walk(turn_to, api=TASKS_API):
            asked_at_ms = page.asked_at_ms if asked_at_ms is None else asked_at_ms
            for entry in page.page.entries:
                if (task := task_of(entry)) is not None:
                    tasks.setdefault(task.device_key or "", []).append(task)
        return _Told(tasks, self.clock.now_ms() if asked_at_ms is None else asked_at_ms, local_ms)

    async def _looked(self, origin: str, reading: Reading) -> Looked:
        job_id = None if reading.task is None else reading.task.job_id
        job = None if job_id is None else await self._jobs.find(job_id)
        return Looked(
            device_id=reading.row.asset_id,
            api=TASKS_API,
            asked_at_ms=reading.asked_at_ms,
            observations=(
                observation(
                    reading,
                    job,
                    account=self._account,
                    origin=origin,
                    api=TASKS_API,
                    observed_at_ms=self.clock.local_ms(),
                ),
            ),
        )

    async def _read_jobs(self) -> AsyncGenerator[Turned, None]:
        """Learn all jobs at once, rather than each as its tasks turn up. Good to have: no sweep fails by it."""

        async def turn_to(number: int) -> Turned:
            return await self._turn_to(JOBS_API, "ota-jobs", "search", number, None)

        try:
            async for page in walk(turn_to, api=JOBS_API):
                self._jobs.learn(page.page.entries)
                yield page
        except CloudError as error:
            log.info(
                "jobs_not_listed",
                account=self._account.name,
                error=error.error,
                code=error.code,
                text=error.text,
            )

    async def _ask_job(self, job_id: str) -> object:
        query = {"action": "get", "orgId": self._account.credentials.org_id, "jobId": job_id}
        reply = await self._client.ask(Call(api=JOB_API, path=self._path("ota-jobs"), query=query))
        return reply.result.get("data")

    async def _turn_to_devices(self, number: int) -> Turned:
        products = self._account.api.product_keys
        expression = one_of("productKey", products) if products else None
        return await self._turn_to(DEVICES_API, "ota-firmwares", "searchDeviceUpgrade", number, expression)

    async def _turn_to(
        self, api: str, resource: str, action: str, number: int, expression: str | None
    ) -> Turned:
        call = list_call(
            api,
            self._path(resource),
            action,
            self._account.credentials.org_id,
            expression=expression,
            number=number,
            size=self._size,
        )
        return await turn(self._client.ask, call, number=number, size=self._size)

    def _path(self, resource: str) -> str:
        return f"/connect-service/{self._account.api.path_version}/{resource}"
