"""Ten thousand bad messages, and some that are only odd, each with what the contract makes of it.

Every case is built so that its outcome follows from how it was built, not from a second implementation.
"""

from __future__ import annotations

import random

from tests.gateway_fuzz import bodies, encryption, envelopes
from tests.gateway_fuzz.case import Case

_FEW = 100
"""A kind with fewer cases is one of lists, in which each case is there for a reason of its own."""


def corpus(key: str, *, every: int = 1) -> list[Case]:
    """Return the cases for an access key, always the same; of each kind that has many, every n-th."""
    chance = random.Random(1)
    kinds = [kind(key, chance) for kind in (*envelopes.KINDS, *encryption.KINDS, *bodies.KINDS)]
    return [case for kind in kinds for case in (kind if len(kind) < _FEW else kind[::every])]
