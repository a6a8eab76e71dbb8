"""Gives the process its logging back after a test that configured it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from bridge.logs import QUIET_LIBRARIES


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo what `configure_logs` and the commands did inside."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    libraries = {name: logging.getLogger(name).level for name in QUIET_LIBRARIES}
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in libraries.items():
            logging.getLogger(name).setLevel(before)
