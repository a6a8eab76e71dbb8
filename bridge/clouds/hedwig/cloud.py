"""Hedwig: the running version of each module of a device, its upgrades as tasks of jobs, and packages.

No call tells a device's last upgrade. A lookup asks for the versions and for what is unfinished, and searches the jobs
of the product's packages for the rest; a sweep reads the jobs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from bridge.clouds.client import ApiClient, Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.device_file import device_ids
from bridge.clouds.errors import DeviceNotFound
from bridge.clouds.hedwig.answers import Firmware, Job, Module, Task, module_of, page_of, task_of
from bridge.clouds.hedwig.catalogue import Catalogue
from bridge.clouds.hedwig.dialect import HedwigDialect
from bridge.clouds.hedwig.lists import MODULES, TASKS, Listed, pages
from bridge.clouds.hedwig.rollouts import Group, JobMemory, groups_of, is_finished, newest_task
from bridge.clouds.hedwig.settings import HedwigApi, HedwigCredentials
from bridge.clouds.hedwig.status import UNFINISHED
from bridge.clouds.hedwig.telling import Placed, Telling
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Discovered, FirmwarePackage, Looked, Means

UNFINISHED_API: Final = "ListOTAUnfinishedTaskByDevice"

GONE_MS: Final = 24 * 3600 * 1000
GONE_MOST: Final = 10_000
"""A device that does not exist any more may stay in the lists of its jobs: so long it is not told of by them."""


class HedwigCloud:
    """See `Cloud`."""

    has_sweep = True

    def __init__(self, account: ApiAccount[HedwigCredentials, HedwigApi], means: Means) -> None:
        self.clock = VendorClock(means.now_ms)
        self._api = account.api
        self._telling = Telling(account, self.clock)
        self._client = ApiClient(account.name, HedwigDialect(account, self.clock), means, self.clock)
        # Each sweep reads it afresh; lookups rely on that, also while a sweep is late.
        self._catalogue = Catalogue(
            self._client, now_ms=means.now_ms, believed_ms=int(account.api.sweep_period_s * 2000)
        )
        self._memory = JobMemory(now_ms=means.now_ms, believed_ms=int(account.api.discovery_period_s * 1000))
        self._gone_until_ms: dict[str, int] = {}

    async def lookup(self, device_id: str) -> Looked:
        """Ask for the modules' versions, for unfinished tasks, and search the jobs for what ended."""
        try:
            modules, asked_at_ms = await self._modules(device_id)
            running = await self._unfinished(device_id)
        except DeviceNotFound:
            self._note_gone(device_id)
            raise
        self._gone_until_ms.pop(device_id, None)
        placed = [await self._place(task, modules) for task in running]
        # The order of asking makes every task at least as new as its versions: all of it carries the first time.
        at_rest = {
            name: module for name, module in modules.items() if name not in {one.channel for one in placed}
        }
        ended, searched = await self._search(device_id, at_rest, modules)
        newest: dict[str | None, Placed] = {}
        for one in sorted((*placed, *ended), key=lambda one: one.task.created, reverse=True):
            newest.setdefault(one.channel, one)
        told = [
            self._telling.task(one, asked_at_ms, module=modules.get(one.channel or ""))
            for one in newest.values()
        ]
        told += [
            self._telling.module(device_id, module, asked_at_ms, is_idle=name in searched)
            for name, module in modules.items()
            if name not in newest
        ]
        return Looked(
            device_id=device_id, api=MODULES.action, asked_at_ms=asked_at_ms, observations=tuple(told)
        )

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the devices that a task was ever made for, or those of the file that stands in for it."""
        if self._api.discovery == "file":
            async for ids in device_ids(self._api.discovery_file or ""):
                yield [Discovered(device_id=device_id) for device_id in ids]
        elif self._api.discovery == "api":
            for firmware in await self._firmwares(afresh=False):
                for job in await self._catalogue.jobs(firmware.firmware_id):
                    async with aclosing(self._tasks(job)) as task_pages:
                        async for page, _ in task_pages:
                            yield [
                                Discovered(device_id=task.device_id, product_id=task.product_key)
                                for task in page
                                if not self._is_gone(task.device_id)
                            ]

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Read the tasks of all jobs that may tell something new: each device's newest of a module."""
        jobs_of: list[tuple[tuple[str | None, str | None], Sequence[Job]]] = []
        for one in await self._firmwares(afresh=True):
            target = one.product_key, await self._catalogue.module(one.firmware_id)
            jobs_of.append((target, await self._catalogue.jobs(one.firmware_id, afresh=True)))
            # It took a request like any page: it counts as one, and lets others have their turn.
            yield []
        groups = groups_of(jobs_of)
        self._memory.keep(groups)
        for group in groups:
            # A number for each device of the group, while its jobs are read.
            told: set[int] = set()
            jobs = self._memory.to_read(group)
            for job in jobs:
                async with aclosing(self._tasks(job)) as task_pages:
                    async for page, asked_at_ms in task_pages:
                        yield self._swept(page, asked_at_ms, group, job, told)
            for job in jobs:
                self._memory.was_read(job)

    async def package(self, package_id: str) -> FirmwarePackage | None:
        """Ask for one package by its FirmwareId."""
        try:
            return await self._catalogue.package(package_id)
        except DeviceNotFound:
            return FirmwarePackage(package_id=package_id, state="missing")

    async def _modules(self, device_id: str) -> tuple[dict[str, Module], int]:
        """Return the device's modules by name, and when they were asked for."""
        found: dict[str, Module] = {}
        asked_at_ms: int | None = None
        async for page in pages(self._client, MODULES, {"IotId": device_id}):
            asked_at_ms = page.asked_at_ms if asked_at_ms is None else asked_at_ms
            for entry in page.entries:
                module = module_of(entry)
                if module is not None:
                    found.setdefault(module.name, module)
        return found, self.clock.now_ms() if asked_at_ms is None else asked_at_ms

    async def _unfinished(self, device_id: str) -> list[Task]:
        """Alibaba's original wants the statuses to be named, so they are."""
        statuses = {f"TaskStatusList.{number}": status for number, status in enumerate(UNFINISHED, 1)}
        reply = await self._client.ask(Call(api=UNFINISHED_API, query={"IotId": device_id} | statuses))
        page = page_of(reply.result, "data", api=UNFINISHED_API)
        return [task for entry in page.entries if (task := task_of(entry)) and task.device_id == device_id]

    async def _place(self, task: Task, modules: Collection[str]) -> Placed:
        """Say what an unfinished task does not: for which module it is, and how its job is."""
        if task.firmware_id is None:
            return Placed(task=task, channel=None, job_status=None, api=UNFINISHED_API)
        channel = await self._channel(task.firmware_id, modules)
        job = await self._catalogue.job(task.firmware_id, task.job_id) if task.job_id else None
        return Placed(
            task=task, channel=channel, job_status=None if job is None else job.status, api=UNFINISHED_API
        )

    async def _channel(self, firmware_id: str, modules: Collection[str]) -> str | None:
        """Return a package's module. One that is gone tells none: then it was the device's only one, if any."""
        module = await self._catalogue.module(firmware_id)
        return next(iter(modules)) if module is None and len(modules) == 1 else module

    async def _search(
        self, device_id: str, at_rest: Mapping[str, Module], modules: Collection[str]
    ) -> tuple[list[Placed], set[str]]:
        """Find the last task of each module; beside them, the modules that surely have no other."""
        found: list[Placed] = []
        searched: set[str] = set()
        for name, module in at_rest.items():
            if module.product_key is None or module.device_name is None:
                continue
            jobs = [
                job
                for firmware in await self._catalogue.firmwares(module.product_key)
                if await self._channel(firmware.firmware_id, modules) == name
                for job in await self._catalogue.jobs(firmware.firmware_id)
            ]
            search = self._memory.to_search(jobs, device_id, name, most=self._api.jobs_per_lookup)
            last = None
            is_sure = search.is_whole
            for job in search.jobs:
                # A newer job's task was found: an older job that goes on may have made a newer one all the same.
                if last is not None and is_finished(job):
                    continue
                tasks, is_filtered = await self._tasks_of(device_id, module.device_name, job)
                is_sure = is_sure and (is_filtered or bool(tasks))
                mine = newest_task(tasks)
                if mine is not None and (last is None or mine.created > last.task.created):
                    last = Placed(task=mine, channel=name, job_status=job.status, api=TASKS.action)
                    self._memory.saw(device_id, name, job.job_id)
            if last is not None:
                found.append(last)
            elif is_sure:
                searched.add(name)
        return found, searched

    async def _tasks_of(self, device_id: str, device_name: str, job: Job) -> tuple[list[Task], bool]:
        """Return a device's tasks in a job, and whether the answer was about this device alone."""
        call = {"JobId": job.job_id, "DeviceNames.1": device_name}
        page = Listed([], 0)
        try:
            async with aclosing(pages(self._client, TASKS, call)) as listed:
                page = await anext(listed, page)
        except DeviceNotFound:
            return [], True
        tasks = [task for entry in page.entries if (task := task_of(entry)) is not None]
        mine = [task for task in tasks if task.device_id == device_id]
        return mine, len(mine) == len(tasks)

    async def _firmwares(self, *, afresh: bool) -> Sequence[Firmware]:
        """The packages whose jobs are read: those configured, or all."""
        wanted = self._api.firmware_ids
        firmwares = await self._catalogue.firmwares(None, afresh=afresh)
        return [one for one in firmwares if not wanted or one.firmware_id in wanted]

    async def _tasks(self, job: Job) -> AsyncGenerator[tuple[list[Task], int], None]:
        """Yield a job's tasks by page, with the time of asking; none where the job is gone."""
        try:
            async with aclosing(pages(self._client, TASKS, {"JobId": job.job_id})) as listed:
                async for page in listed:
                    tasks = [task for entry in page.entries if (task := task_of(entry)) is not None]
                    yield tasks, page.asked_at_ms
        except DeviceNotFound:
            return

    def _swept(
        self, page: list[Task], asked_at_ms: int, group: Group, job: Job, told: set[int]
    ) -> list[Looked]:
        looked: list[Looked] = []
        for task in sorted(page, key=lambda task: task.created, reverse=True):
            if hash(task.device_id) in told or self._is_gone(task.device_id):
                continue
            told.add(hash(task.device_id))
            self._memory.saw(task.device_id, group.module, job.job_id)
            placed = Placed(task=task, channel=group.module, job_status=job.status, api=TASKS.action)
            looked.append(
                Looked(
                    device_id=task.device_id,
                    api=TASKS.action,
                    asked_at_ms=asked_at_ms,
                    observations=(self._telling.task(placed, asked_at_ms, origin="sweep"),),
                    is_whole=False,
                )
            )
        return looked

    def _note_gone(self, device_id: str) -> None:
        self._gone_until_ms[device_id] = self.clock.local_ms() + GONE_MS
        if len(self._gone_until_ms) > GONE_MOST:
            del self._gone_until_ms[next(iter(self._gone_until_ms))]

    def _is_gone(self, device_id: str) -> bool:
        return self.clock.local_ms() < self._gone_until_ms.get(device_id, 0)
