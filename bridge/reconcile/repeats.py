"""Telling of a trouble that comes again and again: at once when it is new, then now and then with a count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

AGAIN_AFTER_S: Final = 60.0
"""Often enough that the last lines of a log tell of it, seldom enough that they tell of other things too."""


class RepeatedTrouble:
    """What to log of one kind of trouble, which may last."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._text: str | None = None
        self._told_at = 0.0
        self._untold = 0

    @property
    def text(self) -> str | None:
        """The trouble, as long as it lasts."""
        return self._text

    def met(self, text: str) -> int | None:
        """Note the trouble. Return how often it came since it was last told; None where it need not be told now."""
        now = self._monotonic()
        self._untold += 1
        if text == self._text and now - self._told_at < AGAIN_AFTER_S:
            return None
        told, self._untold = self._untold, 0
        self._text, self._told_at = text, now
        return told

    def over(self) -> bool:
        """Note that it went well; tell whether that ends a trouble."""
        was_there, self._text, self._untold = self._text is not None, None, 0
        return was_there
