"""How long to wait before the next try, where each one may fail as the one before."""

from __future__ import annotations

from typing import Final

_MOST_DOUBLED: Final = 32
"""What is tried for months fails more often than a float can be doubled."""


def doubled(first_s: float, most_s: float, times: int) -> float:
    """Return `first_s`, doubled so many times, and never more than `most_s`."""
    return min(most_s, first_s * 2.0 ** min(times, _MOST_DOUBLED))
