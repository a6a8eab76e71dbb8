"""One account of a simulated cloud: who it is to the operator, and what its cloud grants it."""

from __future__ import annotations

import secrets
import string

from msgspec import Struct

_ALPHABET = string.ascii_lowercase + string.digits


class SimulatedAccount(Struct, frozen=True, kw_only=True):
    """A project at a vendor's cloud. Each cloud adds its credentials."""

    name: str
    """The operator's alias, as in the bridge's configuration."""
    cloud: str
    rate_per_s: float = 200
    """Requests a second that its REST API serves; more are refused."""
    rate_window_s: float = 1.0
    """The time over which they are counted."""

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return {"cloud": self.cloud}


def random_text(length: int) -> str:
    """Return fresh lower-case letters and digits, for credentials in a vendor's shape."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
