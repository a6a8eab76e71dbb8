"""A message outside the stream, captured by somebody or kept as a dead letter: judged as the stage would judge it.

The judgement is steps 2 to 6 themselves, with today's code, keys and settings; nothing is produced by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from consumer.settings import GatewayAccount
from consumer.source import position_of
from consumer.statistics import Counters
from consumer.translation import Translator
from schemas import DeadLetter, Observation, Position

NOWHERE: Final = Position(partition="captured", ledger=0, entry=0, batch_index=-1, publish_time_at_ms=0)
"""The place of a message of which nobody knows where it stood."""

_observation = msgspec.json.Decoder(Observation).decode
_dead_letter = msgspec.json.Decoder(DeadLetter).decode


class Judgement(Struct, frozen=True, kw_only=True):
    """What a message leads to: observations, a dead letter (both for a conflict of ids), or only a count."""

    observations: tuple[Observation, ...] = ()
    dead_letter: DeadLetter | None = None
    counted_as: str | None = None


class CapturedMessage:
    """Implements `consumer.source.SourceMessage`, and its own id."""

    def __init__(self, payload: bytes, properties: Mapping[str, str], position: Position) -> None:
        self._payload = payload
        self._properties = dict(properties)
        self._position = position

    def data(self) -> bytes:
        """Return the payload."""
        return self._payload

    def properties(self) -> dict[str, str]:
        """Return the properties."""
        return self._properties

    def message_id(self) -> CapturedMessage:
        """Return the id: this object."""
        return self

    def publish_timestamp(self) -> int:
        """Return when the gateway took it; 0 where that is unknown."""
        return self._position.publish_time_at_ms

    def topic_name(self) -> str:
        """Return the source partition, which is all that is known of the topic."""
        return self._position.partition

    def ledger_id(self) -> int:
        """Return the number of the ledger."""
        return self._position.ledger

    def entry_id(self) -> int:
        """Return the number of the entry."""
        return self._position.entry

    def batch_index(self) -> int:
        """Return the place in the entry."""
        return self._position.batch_index

    def partition(self) -> int:
        """No partition of a topic gave it."""
        return -1

    def serialize(self) -> bytes:
        """A captured message is acknowledged to nobody."""
        raise NotImplementedError


def judge(account: GatewayAccount, message: CapturedMessage, received_at_ms: int) -> Judgement:
    """Return what the stage makes of the message today."""
    counters = Counters()
    translator = Translator(account, counters)
    records = translator.translate(
        message, message.data(), position_of(message, message.topic_name()), received_at_ms
    )
    letters = [_dead_letter(record.value) for record in records if record.topic == "dead-letters"]
    return Judgement(
        observations=tuple(
            _observation(record.value) for record in records if record.topic == "observations"
        ),
        dead_letter=letters[0] if letters else None,
        counted_as=None if records else _counted(counters),
    )


def _counted(counters: Counters) -> str:
    """Say in words what the only count of a single message is."""
    for counts, words in (
        (counters.filtered, "filtered: protocol {}"),
        (counters.notices, "a notice of the platform: {}"),
        (counters.unlisted, "not about devices' upgrades: {}"),
    ):
        for name in counts:
            return words.format(name)
    raise AssertionError("a message without records is counted")
