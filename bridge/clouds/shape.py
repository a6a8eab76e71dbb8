"""The shape all clouds share: learn one, know all. `bridge/reconcile` and the command line see only this.

A cloud turns questions into requests of its vendor (signed, with its tokens), and answers into observations. When a
request may be sent is not its business: it asks its `Pace` before each, so that one account has one exact rate.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from bridge.clouds.clock import VendorClock
from schemas import Observation, Package


class Pace(Protocol):
    """Says when an account's next request may be sent."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait for the right to send one request, and hold it until its answer was judged.

        A request is signed inside, so that its time is that of sending. A Throttled raised inside makes the account
        pause.
        """
        ...


class Looked(Struct, frozen=True, kw_only=True):
    """What a lookup learned: `observations` without their lookup's id, the API that answered, and when it was asked.

    `asked_at_ms` is the vendor's clock when the request for the status was sent; every observation carries it.
    """

    api: str
    asked_at_ms: int
    observations: tuple[Observation, ...]


class Discovered(Struct, frozen=True, kw_only=True):
    """A device that exists in the account."""

    device_id: str
    product_id: str | None = None


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

    def sweep(self) -> AsyncGenerator[Sequence[Observation], None]:
        """Read what the cloud tells about many devices at once, page by page."""
        ...

    async def package(self, package_id: str) -> Package | None:
        """Ask for a firmware package; None where the cloud tells nothing of packages."""
        ...
