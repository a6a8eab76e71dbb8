"""Which cloud speaks which API: the one table that a new cloud is added to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Final, Protocol

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import AccountStopped, Misconfigured
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Discovered, Looked, Pace
from bridge.clouds.transport import Transport
from bridge.clouds.tuya_cloud import TuyaCloud
from schemas import Observation, Package


class CloudFactory(Protocol):
    """Makes one account's cloud. `now_ms` is the local wall clock."""

    def __call__(
        self, account: ApiAccount, transport: Transport, pace: Pace, now_ms: Callable[[], int]
    ) -> Cloud:
        """Return the cloud; nothing is sent yet."""
        ...


CLOUDS: Final[Mapping[str, CloudFactory]] = {"tuya-cloud": TuyaCloud}


def open_cloud(account: ApiAccount, transport: Transport, pace: Pace, now_ms: Callable[[], int]) -> Cloud:
    """Return the cloud of an account. Raises Misconfigured for one that is not known."""
    factory = CLOUDS.get(account.cloud)
    if factory is None:
        raise Misconfigured(
            f"account {account.name!r} names cloud {account.cloud!r}; known are {', '.join(sorted(CLOUDS))}",
            api="configuration",
        )
    return factory(account, transport, pace, now_ms)


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

    async def sweep(self) -> AsyncGenerator[Sequence[Observation], None]:
        """Raise the error."""
        nothing: tuple[Sequence[Observation], ...] = ()
        for page in nothing:
            yield page
        raise self._error.not_asked()

    async def package(self, package_id: str) -> Package | None:  # noqa: ARG002 - the shape's
        """Raise the error."""
        raise self._error.not_asked()
