"""Why Kafka's library cannot connect. It logs that, and raises only that no broker could be connected to.

What it logs besides while the bridge itself says that Kafka is away is that outage's echo, and no alarm.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from aiokafka.errors import KafkaConnectionError

from bridge.error_text import error_text

RECENT_S: Final = 60.0
"""As long as it cannot connect the library tries again, and logs why: an older reason is that of an earlier trouble."""


def tell_as_warning(record: logging.LogRecord) -> None:
    """Let a line of the library be a warning of one line, without the many of its traceback."""
    record.levelno, record.levelname = logging.WARNING, "WARNING"
    error = record.exc_info[1] if record.exc_info else None
    if error is not None:
        line = record.getMessage().partition("\n")[0]
        record.msg, record.args = f"{line}: {error_text(error)}", ()
        record.exc_info = record.exc_text = None


class LibraryReasons(logging.Handler):
    """Keeps the latest error that the library logs; while `is_echo` its errors become warnings."""

    def __init__(
        self,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        is_echo: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(logging.ERROR)
        self._monotonic = monotonic
        self._is_echo = is_echo
        self._latest: BaseException | None = None
        self._logged_at = -math.inf

    @property
    def latest(self) -> BaseException | None:
        """The error logged last, if that was lately."""
        return self._latest if self._monotonic() - self._logged_at < RECENT_S else None

    @contextlib.contextmanager
    def heard(self, *, alone: bool = False) -> Iterator[None]:
        """Listen meanwhile. `alone`: nothing of what the library logs is shown, whoever asks says it once."""
        library = logging.getLogger("aiokafka")
        before = library.handlers[:], library.propagate, library.level
        library.addHandler(self)
        if alone:
            library.handlers[:], library.propagate = [self], False
            library.setLevel(logging.ERROR)
        try:
            yield
        finally:
            library.removeHandler(self)
            if alone:
                library.handlers[:], library.propagate = before[0], before[1]
                library.setLevel(before[2])

    def cause_of(self, error: BaseException) -> BaseException:
        """Return what was logged where the error says no more than that no broker could be connected to."""
        return self.latest or error if isinstance(error, KafkaConnectionError) else error

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the error among the record's arguments."""
        arguments = record.args if isinstance(record.args, tuple) else ()
        found = next((each for each in arguments if isinstance(each, BaseException)), None)
        if found is not None:
            self._latest, self._logged_at = found, self._monotonic()
        # The library's handlers hear a line before those that write it.
        if self._is_echo():
            tell_as_warning(record)
