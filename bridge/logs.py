"""Logs: one line an event, key=value on a terminal, JSON elsewhere, on standard error.

Libraries that use the standard library's logging come out the same way. Whatever is rendered passes one last filter
that stars every known secret and the query of every URL, so that neither a library nor a traceback can leak one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, TextIO, cast

import structlog
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    NotEnoughReplicasError,
)
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.config.settings import LogSettings
from bridge.error_text import error_text
from consumer.secret import Secret

QUIET_LIBRARIES: Final = {
    "aiokafka": logging.WARNING,  # tells every rebalance and reconnect at INFO
    "httpx": logging.WARNING,  # its INFO lines carry whole URLs
    "httpcore": logging.WARNING,
    "uvicorn": logging.WARNING,
    "asyncio": logging.WARNING,
}

COORDINATOR_COMES: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

_MEET_LEADERS: Final = ("aiokafka.consumer.fetcher", "aiokafka.producer.sender")

_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s\"'?]*\?)[^\s\"'\\]+", re.IGNORECASE)

_TEMPLATES: Final = 1000

SHORTEST_SECRET: Final = 4
"""A shorter text would star ordinary words; no cloud and no broker gives out such a secret."""


LEADER_COMES_S: Final = 10.0
"""A new topic's partitions get their leaders within a second, after a broker's end within a few."""
REPEATED_AFTER_S: Final = 10.0
"""A library that retries ten times a second with a dozen clients is heard this often, with the number left out."""


_AWAITED: Final = (
    "Unable connect to",
    "Unable to update metadata from",
    "Error sending %s to node",
    "Failed fetch messages from",
    "Heartbeat send request failed",
    "Heartbeat session expired",
    "LeaveGroup request failed",
    "Failed to commit on finallization",
)
"""How the Kafka library's errors begin that only mean: a broker is away."""

_AWAITED_AT_LENGTH: Final = re.compile(
    r"Exception in callback .*\bMessageAccumulator\b|Unexpected error in sender routine"
)
"""Those that come with a traceback of many screens. Whoever wrote hears of the trouble as well, and says so."""

_ADDRESS: Final = re.compile(r"\b0x[0-9a-f]+\b", re.IGNORECASE)


class BrokersAreAwaited(logging.Filter):
    """A broker that cannot be reached is waited for: the Kafka library's error is a warning; errors are alarms."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lower an error's level, and tell a long one in one line."""
        if record.levelno != logging.ERROR:
            return True
        told = str(record.msg)
        if told.startswith(_AWAITED):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
        elif _AWAITED_AT_LENGTH.match(told):
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            error = record.exc_info[1] if record.exc_info else None
            line = told.partition("\n")[0]
            record.msg, record.args = line if error is None else f"{line}: {error_text(error)}", ()
            record.exc_info = record.exc_text = None
        return True


class Throttle(logging.Filter):
    """Lets a library say the same thing only now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record; it then tells how many like it were left out."""
        # A message's template, not its text: the libraries keep those few, so this stays small. asyncio writes what
        # callback failed into it, with an address that is another one each time.
        key = (record.name, _ADDRESS.sub("", str(record.msg)))
        now = self._clock()
        said_at, left_out = self._said.get(key, (-math.inf, 0))
        if now - said_at < REPEATED_AFTER_S:
            self._said[key] = (said_at, left_out + 1)
            return False
        if len(self._said) >= _TEMPLATES:
            self._said.clear()
        self._said[key] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like this)", ()
        return True


class LeaderComes(logging.Filter):
    """Takes a partition without a leader for trouble only once that has lasted.

    The library complains whenever it reads or writes a partition that was made a moment ago, or whose leader is just
    changing; it tries again ten times a second, until there is one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = self._last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log the record."""
        if record.name not in _MEET_LEADERS or not any(map(_says_no_leader, record.args or ())):
            return True
        now = self._clock()
        if now - self._last > LEADER_COMES_S:
            self._since = now
        self._last = now
        return now - self._since > LEADER_COMES_S or _for_debugging(record)


def is_worth_telling(record: logging.LogRecord) -> bool:
    """Whether to log the record, as a filter asks.

    Kafka answers the first record of a transaction with `NotEnoughReplicas` while it verifies the transaction, for
    clients that do not know its real name for that; the library tries again at once. Where replicas really are
    missing the transaction takes long, and `slow_transaction` says so.

    The coordinator of a group is not there at the first start on a new cluster, which makes its topic then, and while a
    broker takes over another's groups; the library asks again. One that stays away is told as `kafka_unreachable`.
    """
    if record.name == "aiokafka.consumer.group_coordinator" and _waits_for_coordinator(record):
        return _for_debugging(record)
    return record.name != "aiokafka.producer.sender" or NotEnoughReplicasError not in (record.args or ())


def _says_no_leader(argument: object) -> bool:
    """The fetcher tells the error itself, the sender its class."""
    kind = argument if isinstance(argument, type) else type(argument)
    return issubclass(kind, KafkaError) and getattr(kind, "invalid_metadata", False)


def _for_debugging(record: logging.LogRecord) -> bool:
    record.levelno, record.levelname = logging.DEBUG, "DEBUG"
    return logging.getLogger().isEnabledFor(logging.DEBUG)


def _waits_for_coordinator(record: logging.LogRecord) -> bool:
    if str(record.msg).startswith("Marking the coordinator dead"):
        return True  # it is looked for anew; the line that says why is told beside it

    return str(record.msg).startswith("Group Coordinator Request failed") and any(
        isinstance(argument, COORDINATOR_COMES) for argument in record.args or ()
    )


class Lines:
    """Where lines go. One that cannot be written, as on a full disk, is let go: no work of the bridge's ends by it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or let go."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError):
            self._stream.flush()


class Redactor:
    """Stars known secrets and the queries of URLs in a text."""

    def __init__(self, secrets: Iterable[Secret]) -> None:
        texts = {secret.reveal() for secret in secrets}
        # In a JSON line or a repr a secret stands escaped: every form is looked for, longer ones first.
        forms = texts | {json.dumps(text)[1:-1] for text in texts} | {repr(text)[1:-1] for text in texts}
        self._forms = sorted((form for form in forms if len(form) >= SHORTEST_SECRET), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, "***")
        return _QUERY.sub(r"\1***", text)


def configure_logs(settings: LogSettings, redact: Redactor, stream: TextIO | None = None) -> None:
    """Send everything that is logged from now on to `stream` (standard error), redacted."""
    stream = stream or sys.stderr
    lines = cast("TextIO", Lines(stream))
    human = settings.format == "human" or (settings.format == "auto" and stream.isatty())
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Neither renderer shows the variables of a traceback's frames: keys and messages live in them.
    render = _redacted(_human(stream) if human else _json(), redact)
    before = [] if human else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*common, *before, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=lines),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *before, render],
        )
    )
    handler.addFilter(is_worth_telling)
    handler.addFilter(LeaderComes())
    handler.addFilter(BrokersAreAwaited())
    handler.addFilter(Throttle())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library, quiet in QUIET_LIBRARIES.items():
        logging.getLogger(library).setLevel(max(level, quiet))
    logging.captureWarnings(capture=True)


def _redacted(render: Processor, redact: Redactor) -> Processor:
    def finish(logger: WrappedLogger, name: str, event: EventDict) -> str:
        return redact(str(render(logger, name, event)))

    return finish


def _json() -> Processor:
    return structlog.processors.JSONRenderer(default=_plain)


def _human(stream: TextIO) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
    )


def _plain(value: Any) -> Any:
    return str(value)
