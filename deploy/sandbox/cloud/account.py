"""One account of a simulated cloud: who it is to the operator, and its credentials."""

from __future__ import annotations

import secrets
import string

from msgspec import Struct

_ALPHABET = string.ascii_lowercase + string.digits


class SimulatedAccount(Struct, frozen=True, kw_only=True):
    """A project at a vendor's cloud. `access_id` is also its Pulsar tenant."""

    name: str
    """The operator's alias, as in the bridge's configuration."""
    cloud: str
    access_id: str
    access_key: str
    """32 ASCII characters: the root of authentication, signature and encryption."""
    previous_access_key: str | None = None
    """Still used for some messages under the knob `push_previous_key`."""
    rate_per_s: int = 200
    """Requests a second that its REST API serves; more are refused."""


def new_account(name: str, cloud: str = "tuya-cloud", *, rate_per_s: int = 200) -> SimulatedAccount:
    """Make an account with fresh random credentials in the vendor's shape."""
    return SimulatedAccount(
        name=name,
        cloud=cloud,
        access_id=_random_text(20),
        access_key=_random_text(32),
        previous_access_key=_random_text(32),
        rate_per_s=rate_per_s,
    )


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
