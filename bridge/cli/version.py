"""`ota-bridge version`."""

from __future__ import annotations

from bridge.version import VERSION


def version() -> None:
    """Print the version."""
    print(VERSION)
