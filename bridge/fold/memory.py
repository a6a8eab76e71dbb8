"""Gives memory back to the system: glibc keeps what was freed between what is still in use.

After a take-over that is more than the whole store: every device was read in a large piece and is kept in a small one.
"""

from __future__ import annotations

import ctypes


def return_free_memory() -> None:
    """Return what is free, with glibc; other C libraries do it by themselves or not at all."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
