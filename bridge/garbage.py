"""How often Python looks for objects that only refer to each other.

By default after each 700 new containers: in the daemon, which makes thousands of records at a time and keeps them for
the length of a transaction, that is work for nothing. Almost everything here is freed at once, by its last reference.
"""

from __future__ import annotations

import gc
from typing import Final

_NEW_CONTAINERS: Final = 10_000
"""Some 2 MB that wait. Much more would be looked for in cold memory, which costs as much as looking often."""
_YOUNGER_ROUNDS: Final = 50


def collect_seldom() -> None:
    """Leave out what lives as long as the process, and look at the rest less often. Once, when everything is loaded."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_CONTAINERS, _YOUNGER_ROUNDS, _YOUNGER_ROUNDS)
