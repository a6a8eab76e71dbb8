"""The shape all clouds share: learn one, know all. `bridge/reconcile` and the command line see only this.

A cloud turns questions into requests of its vendor (signed, with its tokens), and answers into observations. When a
request may be sent is not its business: it asks its `Pace` before each, so that one account has one exact rate. Nor are
retries, circuits and caches: see `client.py` and `bridge/reconcile`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

from msgspec import Struct

from bridge.clouds.clock import VendorClock
from bridge.clouds.wire import Transport
from schemas import Observation, PackageState

UNTOLD: Final = "untold"
"""The state of a package that an observation names by its id only; whoever writes the observation asks `package`."""


class Pace(Protocol):
    """Says when an account's next request may be sent."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for the right to send one request, and hold it until its answer was judged.

        A request is signed inside, so that its time is that of sending. A Throttled raised inside makes the account
        pause.
        """
        ...


class Means(Struct, frozen=True, kw_only=True):
    """What a cloud works with: given to it, so that tests can give others. `now_ms` is the local wall clock."""

    transport: Transport
    pace: Pace
    now_ms: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random
    """Returns 0..1."""


class Looked(Struct, frozen=True, kw_only=True):
    """What one reading told of one device: `observations` without a lookup's id, the API, and when it was asked.

    `asked_at_ms` is the vendor's clock when the request for the status was sent; every observation carries it.
    """

    device_id: str
    api: str
    asked_at_ms: int
    observations: tuple[Observation, ...]
    is_whole: bool = True
    """Whether a lookup of the device would tell no more. Then the lookups that wait for it are answered with this."""
    others: tuple[Looked, ...] = ()
    """What the same requests told of other devices; used for those that are waited for."""


class Discovered(Struct, frozen=True, kw_only=True):
    """A device that exists in the account."""

    device_id: str
    product_id: str | None = None


class FirmwarePackage(Struct, frozen=True, kw_only=True):
    """What a cloud tells of one firmware package. Its state never is a device's status."""

    package_id: str
    state: PackageState
    version: str | None = None
    """The version that a device has after it."""
    from_version: str | None = None
    name: str | None = None
    product_id: str | None = None
    channel: str | None = None
    told: Mapping[str, Any] = {}
    """The vendor's fields on an allow-list, for people. Never a URL: those lead to the package."""


class Cloud(Protocol):
    """One account of one firmware API. Every method raises CloudError, with the word of its class."""

    clock: VendorClock
    has_sweep: bool
    """Whether `sweep` finds anything: the clouds that push need none."""

    async def lookup(self, device_id: str) -> Looked:
        """Ask for everything the cloud knows of one device's firmware."""
        ...

    def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the account's devices, page by page; the next page is asked for only when it is wanted."""
        ...

    def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Read what the cloud tells about many devices at once, page by page; evidence of origin `sweep`."""
        ...

    async def package(self, package_id: str) -> FirmwarePackage | None:
        """Ask for a firmware package; state `missing` where the cloud has none of that id.

        None where the cloud tells nothing of packages.
        """
        ...
