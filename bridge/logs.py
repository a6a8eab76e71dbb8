"""Logs: one line an event, key=value on a terminal, JSON elsewhere, on standard error.

Libraries that use the standard library's logging come out the same way. Whatever is rendered passes one last filter
that stars every known secret and the query of every URL, so that neither a library nor a traceback can leak one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from bridge.config.settings import LogSettings
from bridge.library_lines import BrokersAreAwaited, LeaderComes, Throttle, is_worth_telling
from consumer.secret import Secret

QUIET_LIBRARIES: Final = {
    "aiokafka": logging.WARNING,  # tells every rebalance and reconnect at INFO
    "httpx": logging.WARNING,  # its INFO lines carry whole URLs
    "httpcore": logging.WARNING,
    "uvicorn": logging.WARNING,
    "asyncio": logging.WARNING,
}

_QUERY: Final = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s\"'?]*\?)[^\s\"'\\]+", re.IGNORECASE)

SHORTEST_SECRET: Final = 4
"""A shorter text would star ordinary words; no cloud and no broker gives out such a secret."""


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
