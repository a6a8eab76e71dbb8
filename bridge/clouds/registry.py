"""Which clouds there are: the one table that a new cloud is added to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Final

from bridge.clouds import enos, hedwig, illume, oceanconnect, tuya_cloud
from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import AccountStopped, Misconfigured
from bridge.clouds.kind import CloudKind
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, Discovered, FirmwarePackage, Looked, Means

CLOUDS: Final[Mapping[str, CloudKind[Any, Any]]] = {
    "tuya-cloud": tuya_cloud.KIND,
    "hedwig": hedwig.KIND,
    "enos": enos.KIND,
    "illume": illume.KIND,
    "oceanconnect": oceanconnect.KIND,
}


def kind_of(cloud: str) -> CloudKind[Any, Any]:
    """Return a cloud's kind. Raises Misconfigured for one that is not known."""
    kind = CLOUDS.get(cloud)
    if kind is None:
        raise Misconfigured(
            f"{cloud!r} names no cloud; known are {', '.join(sorted(CLOUDS))}", api="configuration"
        )
    return kind


def open_cloud(account: AnyAccount, means: Means) -> Cloud:
    """Return the cloud of an account. Raises Misconfigured for one that is not known."""
    return kind_of(account.cloud).open(account, means)


class ClosedCloud:
    """Stands for a cloud that cannot be asked as it is configured: every question ends in that error."""

    has_sweep = False

    def __init__(self, error: AccountStopped, now_ms: Callable[[], int]) -> None:
        self.clock = VendorClock(now_ms)
        self._error = error

    async def lookup(self, device_id: str) -> Looked:  # noqa: ARG002 - the shape's
        """Raise the error."""
        raise self._error.not_asked()

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """Raise the error."""
        nothing: tuple[Sequence[Discovered], ...] = ()
        for page in nothing:
            yield page
        raise self._error.not_asked()

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Raise the error."""
        nothing: tuple[Sequence[Looked], ...] = ()
        for page in nothing:
            yield page
        raise self._error.not_asked()

    async def package(self, package_id: str) -> FirmwarePackage | None:  # noqa: ARG002 - the shape's
        """Raise the error."""
        raise self._error.not_asked()
