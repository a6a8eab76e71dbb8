"""What the Kafka library logs, made fit to be read: no alarm for what is waited for, no screens, no repetition."""

from __future__ import annotations

import logging
import math
import re
import ssl
import time
from collections.abc import Callable
from typing import Final

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    NotEnoughReplicasError,
)

from bridge.kafka.library_reasons import tell_as_warning
from bridge.kafka.reach import is_no_answer_kind
from bridge.kafka.refusals import refusal_text

COORDINATOR_COMES: Final = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)

_LIBRARY: Final = "aiokafka"
_MEET_LEADERS: Final = ("aiokafka.consumer.fetcher", "aiokafka.producer.sender")

_TEMPLATES: Final = 1000

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
        if record.levelno == logging.ERROR and _is_awaited(record):
            tell_as_warning(record)
        if record.name.startswith(_LIBRARY) and isinstance(record.args, tuple):
            # OpenSSL's own words name a line of its source, and neither what is wrong nor where.
            record.args = tuple(
                refusal_text(argument) if isinstance(argument, ssl.SSLCertVerificationError) else argument
                for argument in record.args
            )
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


def _is_awaited(record: logging.LogRecord) -> bool:
    told = str(record.msg)
    if told.startswith(_AWAITED) or _AWAITED_AT_LENGTH.match(told):
        return True
    if not record.name.startswith(_LIBRARY):
        return False
    raised = record.exc_info[1] if record.exc_info else None
    return any(map(_says_no_answer, (*(record.args or ()), raised)))


def _says_no_answer(argument: object) -> bool:
    """Of a line's arguments: an error itself, or its class."""
    kind = argument if isinstance(argument, type) else type(argument)
    return is_no_answer_kind(kind) or issubclass(kind, COORDINATOR_COMES)


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
