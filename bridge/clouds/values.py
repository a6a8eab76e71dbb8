"""Reading single values of a vendor's JSON, which come as one type or another."""

from __future__ import annotations

from typing import Any, Final

MOST: Final = 10**14
"""No time, count or code of a vendor's is larger: in ms it is the year 5138.

And minutes of it, counted in ms, fit into 64 bits, so that whoever calculates with a number need not check it again.
"""


def number(value: Any) -> int | None:
    """Return an integer that may have come as a numeric string, None for anything else and beyond `MOST`."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        try:
            value = int(value.strip())
        except ValueError:
            return None
    return value if isinstance(value, int) and -MOST <= value <= MOST else None


def text(value: Any) -> str | None:
    """Return a text that is not empty, None for anything else."""
    if isinstance(value, str) and value.strip():
        return value.strip()
    return None
