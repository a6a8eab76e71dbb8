"""A cloud with jobs and packages, as small as can be: what the worker does for every cloud is tried on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError, DeviceNotFound
from bridge.clouds.shape import UNTOLD, Discovered, FirmwarePackage, Looked, Pace
from schemas import Observation, ObservedEvidence, Package, Status
from tests.virtual_time import now_ms


class ToyCloud:
    """`devices`: id to status. Each reading takes one turn of the pace; `page` is how many a sweep reads at once."""

    has_sweep = True

    def __init__(self, pace: Pace, *, page: int = 2, package_id: str | None = "p1") -> None:
        self.clock = VendorClock(now_ms)
        self.devices: dict[str, Status] = {}
        self.asked: Counter[str] = Counter()
        self.packages: dict[str, FirmwarePackage | CloudError | None] = {}
        self.tells_others = False
        self.sweeps_whole = True
        self.sweep_error: CloudError | None = None
        self._pace = pace
        self._page = page
        self._package_id = package_id

    async def lookup(self, device_id: str) -> Looked:
        async with self._pace.turn():
            self.asked["lookup"] += 1
            self.asked[device_id] += 1
        if device_id not in self.devices:
            raise DeviceNotFound("no such device", api="toy")
        others = [each for each in self.devices if each != device_id] if self.tells_others else []
        return self._looked(device_id, "lookup", tuple(self._looked(each, "lookup") for each in others))

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        nothing: tuple[Sequence[Discovered], ...] = ()
        for page in nothing:
            yield page

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        names = list(self.devices)
        for first in range(0, len(names), self._page):
            async with self._pace.turn():
                self.asked["sweep"] += 1
            if self.sweep_error is not None:
                raise self.sweep_error
            yield [self._looked(name, "sweep") for name in names[first : first + self._page]]

    async def package(self, package_id: str) -> FirmwarePackage | None:
        async with self._pace.turn():
            self.asked["package"] += 1
        told = self.packages.get(package_id)
        if isinstance(told, CloudError):
            raise told
        return told

    def _looked(self, device_id: str, origin: str, others: tuple[Looked, ...] = ()) -> Looked:
        asked_at_ms = self.clock.now_ms()
        observation = Observation(
            device_id=device_id,
            cloud="toys",
            account="tuya-test",
            channel="firmware",
            kind="status",
            status=self.devices[device_id],
            package=None if self._package_id is None else Package(id=self._package_id, state=UNTOLD),
            asked_at_ms=asked_at_ms,
            observed_at_ms=now_ms(),
            evidence=ObservedEvidence(origin=origin, name="toy"),
        )
        return Looked(
            device_id=device_id,
            api="toy",
            asked_at_ms=asked_at_ms,
            observations=(observation,),
            is_whole=origin == "lookup" or self.sweeps_whole,
            others=others,
        )
