"""What an account's cloud tells of its firmware packages: asked once, remembered for a while, put into observations.

A task or an operation names its package by an id. What is known of that package fills the observation's `package` and a
target version that the task itself does not tell. Never a status: a rejected package may well have been installed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bridge.clouds.errors import CloudError, SchemaMismatch
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import UNTOLD, Cloud, FirmwarePackage
from bridge.reconcile.limits import NotOwner
from bridge.reconcile.statistics import PackageStatistics
from schemas import PHASES, Observation, Package

log = structlog.get_logger(__name__)

SETTLED_S: Final = 3600.0
"""How long a state is believed that changes only by an operator: usable, rejected."""

UNSETTLED_S: Final = 300.0
"""How long any other is: it is checked right now, or just uploaded; also how long a failure keeps us from asking."""

REMEMBERED_MOST: Final = 10_000
"""Packages remembered, a few hundred bytes each; the one asked longest ago gives way."""

_SETTLED: Final = ("usable", "rejected")
_IN_TROUBLE: Final = ("rejected", "missing")


class _Remembered(Struct, frozen=True):
    told: FirmwarePackage | None
    until: float


class Packages:
    """The packages of one account. `monotonic` is a clock in seconds."""

    def __init__(self, account: AnyAccount, cloud: Cloud, *, monotonic: Callable[[], float]) -> None:
        self._account = account
        self._cloud = cloud
        self._monotonic = monotonic
        self._known: dict[str, _Remembered] = {}
        self._asking: dict[str, asyncio.Event] = {}
        self._asked = 0
        self._failures = 0

    async def fill(self, observations: Sequence[Observation]) -> list[Observation]:
        """Return the observations with what is known of the packages they name. Never fails."""
        return [
            observation
            if observation.package is None
            else await self._filled(observation, observation.package)
            for observation in observations
        ]

    def statistics(self) -> PackageStatistics:
        """Return a look at the packages."""
        return PackageStatistics(
            asked=self._asked,
            failures=self._failures,
            by_state=dict(
                Counter(known.told.state for known in self._known.values() if known.told is not None)
            ),
        )

    async def _filled(self, observation: Observation, named: Package) -> Observation:
        if named.state != UNTOLD:
            return observation

        told = await self._told(named.id)
        if told is None:
            # A state that nobody told is no state; the next observation names the package again.
            return replace(observation, package=None)

        target = observation.target_version
        if target is None and observation.status is not None and PHASES[observation.status] != "rest":
            target = told.version
        return replace(observation, package=Package(id=named.id, state=told.state), target_version=target)

    async def _told(self, package_id: str) -> FirmwarePackage | None:
        while (asking := self._asking.get(package_id)) is not None:
            await asking.wait()
        known = self._known.get(package_id)
        if known is not None and self._monotonic() < known.until:
            return known.told

        self._asking[package_id] = asyncio.Event()
        try:
            return await self._ask(package_id, known)
        finally:
            self._asking.pop(package_id).set()

    async def _ask(self, package_id: str, known: _Remembered | None) -> FirmwarePackage | None:
        told = None if known is None else known.told
        self._asked += 1
        try:
            told = await self._cloud.package(package_id)
        except NotOwner:
            return told
        except Exception as surprise:  # noqa: BLE001 (a defect in reading a package costs the package, no lookup)
            error = self._error_of(surprise, package_id)
            # The lookup itself went well. What was known longer ago is still the best there is.
            self._failures += 1
            log.info(
                "package_not_told",
                account=self._account.name,
                package_id=package_id,
                api=error.api,
                error=error.error,
                code=error.code,
                text=error.text,
            )
            self._remember(package_id, told, UNSETTLED_S)
            return told
        is_settled = told is not None and told.state in _SETTLED
        self._remember(package_id, told, SETTLED_S if is_settled else UNSETTLED_S)
        was_told = None if known is None or known.told is None else known.told.state
        if told is not None and told.state in _IN_TROUBLE and told.state != was_told:
            log.warning(
                "package_in_trouble",
                account=self._account.name,
                package_id=package_id,
                state=told.state,
                version=told.version,
                remedy="look at the package in the cloud's console; its upgrades may not succeed",
            )
        return told

    def _error_of(self, surprise: Exception, package_id: str) -> CloudError:
        if isinstance(surprise, CloudError):
            return surprise
        log.error("package_broke", account=self._account.name, package_id=package_id, exc_info=surprise)
        return SchemaMismatch(
            f"the answer could not be read: {type(surprise).__name__}; please report it", api="package"
        )

    def _remember(self, package_id: str, told: FirmwarePackage | None, for_s: float) -> None:
        self._known.pop(package_id, None)
        self._known[package_id] = _Remembered(told, self._monotonic() + for_s)
        if len(self._known) > REMEMBERED_MOST:
            del self._known[next(iter(self._known))]
