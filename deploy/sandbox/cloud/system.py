"""What the sandbox has to know of a simulated cloud. `systems.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from starlette.types import ASGIApp

from bridge.clouds.settings import ApiSettings, Credentials
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.fleet import FleetManner
from deploy.sandbox.cloud.life import Ending
from deploy.sandbox.cloud.rest import Surroundings
from deploy.sandbox.cloud.tenant import Tenant


class Place(Struct, frozen=True, kw_only=True):
    """Where an account's REST API is, and what the bridge needs to reach it. Files are absolute paths."""

    rest_url: str
    ca_file: str
    client_cert_file: str
    client_key_file: str
    """What the bridge shows to servers that ask for a certificate."""
    short_periods: Mapping[str, Any]
    """Keys of every cloud's `api` table with the sandbox's short periods."""


class Tables(Struct, frozen=True, kw_only=True):
    """An account's tables in the bridge's configuration."""

    credentials: Credentials
    api: ApiSettings


class Serving(Protocol):
    """A REST system that runs."""

    @property
    def app(self) -> ASGIApp:
        """The ASGI application."""
        ...


class SimulatedSystem(Struct, frozen=True, kw_only=True):
    """One simulated cloud."""

    new_account: Callable[[str], SimulatedAccount]
    """Makes an account of that name with fresh credentials."""
    serve: Callable[[Sequence[Tenant], Surroundings], Serving]
    tables: Callable[[SimulatedAccount, Place], Tables]
    manner: FleetManner
    endings: frozenset[Ending]
    """What its API can express; a campaign gives its devices no other."""
    has_gateway: bool = False
    client_certificates: bool = False
    """Whether its server asks for a certificate of the sandbox's authority."""
    demo_share: float = 0.1
    """Of the demo's devices; the cloud with the largest share takes what the others leave. A tenth of 200 are as few as
    show every ending, and as many as a rate of a hundred requests a minute is good for."""
    demo_name: str | None = None
    """The sandbox's account; `<cloud>-demo` when absent."""
