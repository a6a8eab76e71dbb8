"""What an account rolls out: its packages, and the jobs of each. Read when it is needed, and believed for a while.

A task names its package but not the module it is for; the package does. And a device's last task is found only by
searching the jobs of its product's packages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import structlog
from msgspec import Struct

from bridge.clouds.client import ApiClient, Call
from bridge.clouds.errors import DeviceNotFound, Misunderstood
from bridge.clouds.hedwig.answers import Firmware, Job, firmware_of, job_of, package_of
from bridge.clouds.hedwig.lists import FIRMWARES, JOBS, pages
from bridge.clouds.shape import FirmwarePackage

log = structlog.get_logger(__name__)

PACKAGE_API: Final = "QueryOTAFirmware"

MODULES_MOST: Final = 10_000
"""Packages whose module is remembered; it never changes. The one learned first gives way."""

T = TypeVar("T")


class _Read(Struct, Generic[T], frozen=True):
    told: T
    at_ms: int


class Catalogue:
    """The packages and jobs of one account. `believed_ms`: how old an answer may be; jobs are made by people."""

    def __init__(self, client: ApiClient, *, now_ms: Callable[[], int], believed_ms: int) -> None:
        self._client = client
        self._now_ms = now_ms
        self._believed_ms = believed_ms
        self._firmwares: dict[str | None, _Read[Sequence[Firmware]]] = {}
        self._jobs: dict[str, _Read[Sequence[Job]]] = {}
        self._modules: dict[str, str | None] = {}
        self._one_at_a_time = asyncio.Lock()

    async def firmwares(self, product_key: str | None, *, afresh: bool = False) -> Sequence[Firmware]:
        """List the packages of a product, or all of the account's."""
        async with self._one_at_a_time:
            if not afresh and (told := self._known_firmwares(product_key)) is not None:
                return told
            at_ms = self._now_ms()
            parameters = {} if product_key is None else {"ProductKey": product_key}
            found: dict[str, Firmware] = {}
            async for page in pages(self._client, FIRMWARES, parameters):
                for entry in page.entries:
                    if (firmware := firmware_of(entry)) is not None:
                        found[firmware.firmware_id] = firmware
            for firmware in found.values():
                if firmware.module is not None:
                    self._learn_module(firmware.firmware_id, firmware.module)
            told = tuple(found.values())
            self._firmwares[product_key] = _Read(told, at_ms)
            return told

    async def jobs(self, firmware_id: str, *, afresh: bool = False) -> Sequence[Job]:
        """List the jobs of a package; none where the package is gone."""
        async with self._one_at_a_time:
            known = self._jobs.get(firmware_id)
            if known is not None and not afresh and self._is_believed(known.at_ms):
                return known.told
            at_ms = self._now_ms()
            found: dict[str, Job] = {}
            try:
                async for page in pages(self._client, JOBS, {"FirmwareId": firmware_id}):
                    for entry in page.entries:
                        if (job := job_of(entry, firmware_id)) is not None:
                            found[job.job_id] = job
            except DeviceNotFound:
                found = {}
            told = tuple(found.values())
            self._jobs[firmware_id] = _Read(told, at_ms)
            return told

    async def job(self, firmware_id: str, job_id: str) -> Job | None:
        """Return a job that a task names: one that is not known yet was made after its package was read."""
        for afresh in (False, True):
            for job in await self.jobs(firmware_id, afresh=afresh):
                if job.job_id == job_id:
                    return job
        return None

    async def module(self, firmware_id: str) -> str | None:
        """Return the module that a package is for; None where nobody knows, or the answer is not to be understood."""
        if firmware_id not in self._modules:
            try:
                await self.package(firmware_id)
            except (DeviceNotFound, Misunderstood) as error:
                log.info(
                    "module_not_told",
                    firmware_id=firmware_id,
                    error=error.error,
                    code=error.code,
                    text=error.text,
                )
                self._learn_module(firmware_id, None)
        return self._modules[firmware_id]

    async def package(self, package_id: str) -> FirmwarePackage:
        """Ask for one package. Raises DeviceNotFound where there is none."""
        reply = await self._client.ask(Call(api=PACKAGE_API, query={"FirmwareId": package_id}))
        told = package_of(reply.result, package_id, api=PACKAGE_API)
        self._learn_module(package_id, told.channel)
        return told

    def _known_firmwares(self, product_key: str | None) -> Sequence[Firmware] | None:
        """What is still believed: the product's own list, or what the list of all, which sweeps read, has of it."""
        for key in (product_key, None):
            known = self._firmwares.get(key)
            if known is not None and self._is_believed(known.at_ms):
                return [
                    one for one in known.told if product_key is None or one.product_key in (None, product_key)
                ]
        return None

    def _learn_module(self, firmware_id: str, module: str | None) -> None:
        self._modules[firmware_id] = module
        if len(self._modules) > MODULES_MOST:
            del self._modules[next(iter(self._modules))]

    def _is_believed(self, at_ms: int) -> bool:
        return self._now_ms() - at_ms < self._believed_ms
