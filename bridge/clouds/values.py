"""Reading single values of a vendor's JSON, which come as one type or another."""

from __future__ import annotations

from typing import Any


def number(value: Any) -> int | None:
    """Return an integer that may have come as a numeric string, None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            return None
    return None


def text(value: Any) -> str | None:
    """Return a text that is not empty, None for anything else."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    return None
