"""Step 3, filter, for nine of ten messages: told by their bytes, before anything is decoded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from consumer.envelope import AFTER_DATA, DATA_FIRST, PROTOCOL

_DATA_AT: Final = len(DATA_FIRST)


class Filter:
    """Knows messages of the filtered protocols in the form in which the platform writes; counts them."""

    def __init__(self, size_limit_bytes: int, protocols: Sequence[int], filtered: Counter[int]) -> None:
        self._size_limit = size_limit_bytes
        self._starts = tuple((AFTER_DATA % protocol, protocol) for protocol in protocols)
        self._filtered = filtered

    def passing(self, payloads: Sequence[bytes]) -> list[int]:
        """Return the indexes of those that are not filtered here: of other protocols, or written otherwise.

        What follows the protocol is not read, but that it ends like an envelope and does
        not name a second protocol, as the platform spells it.
        """
        starts, filtered, limit = self._starts, self._filtered, self._size_limit
        passing: list[int] = []
        for index, payload in enumerate(payloads):
            if payload.startswith(DATA_FIRST) and len(payload) <= limit:
                # The first quote ends `data`, whose base64 has neither quotes nor escapes.
                end = payload.find(b'"', _DATA_AT)
                for start, protocol in starts:  # noqa: B007 (read behind the loop)
                    if payload.startswith(start, end):
                        break
                else:
                    passing.append(index)
                    continue
                if payload.count(PROTOCOL, end) == 1 and payload.endswith(b"}"):
                    filtered[protocol] += 1
                    continue
            passing.append(index)
        return passing
