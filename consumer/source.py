"""Names and places at the gateway: an account's topics, and where in them a message stood.

The text forms never hold the access id, which is the topics' tenant: `event/3`, `event-test`.
"""

from __future__ import annotations

from typing import Final, Protocol

from consumer.errors import Rejected
from consumer.settings import GatewayAccount
from schemas import Position

_PARTITION: Final = "-partition-"


class MessageId(Protocol):
    """A message's id, as Pulsar's client gives it."""

    def ledger_id(self) -> int:
        """Number of the ledger the message is stored in; rises."""
        ...

    def entry_id(self) -> int:
        """Number of the entry in its ledger."""
        ...

    def batch_index(self) -> int:
        """Place in an entry that holds several messages, else -1."""
        ...

    def partition(self) -> int:
        """Number of the topic's partition, -1 where there are none."""
        ...

    def serialize(self) -> bytes:
        """Return the id as the protocol's MessageIdData."""
        ...


class SourceMessage(Protocol):
    """A received message, as Pulsar's client gives it."""

    def data(self) -> bytes:
        """Return the payload."""
        ...

    def properties(self) -> dict[str, str]:
        """Return the properties: `em`, `tid`."""
        ...

    def message_id(self) -> MessageId:
        """Return the id to acknowledge."""
        ...

    def publish_timestamp(self) -> int:
        """Return when the gateway took it, Unix ms."""
        ...

    def topic_name(self) -> str:
        """Return the full topic name, of the partition where there are several."""
        ...


def topic_names(account: GatewayAccount) -> list[str]:
    """Return the full names of an account's topics.

    A configured topic is a channel of the account's own tenant (`event`); one with a slash is a full name already.
    """
    return [
        f"persistent://{account.access_id}/out/{topic}"
        if "/" not in topic
        else topic
        if "://" in topic
        else f"persistent://{topic}"
        for topic in account.gateway.topics
    ]


def source_partition(topic_name: str) -> str:
    """Return `event/3` for `persistent://<id>/out/event-partition-3`, `event-test` for an unpartitioned topic."""
    channel, separator, number = topic_name.rsplit("/", 1)[-1].rpartition(_PARTITION)
    return f"{channel}/{number}" if separator else number


def position_of(message: SourceMessage, partition: str) -> Position:
    """Return a message's place. Ids come from the message, the partition from its topic's name."""
    message_id = message.message_id()
    return Position(
        partition=partition,
        ledger=message_id.ledger_id(),
        entry=message_id.entry_id(),
        batch_index=message_id.batch_index(),
        publish_time_at_ms=message.publish_timestamp(),
    )


def encryption_of(message: SourceMessage) -> str | None:
    """Return the property `em`, None where absent. Raises Rejected: unknown_encryption (properties are not text)."""
    try:
        return message.properties().get("em")
    except UnicodeDecodeError:
        raise Rejected(
            "unknown_encryption", "the properties, which name the encryption, are not text"
        ) from None


def properties_of(message: SourceMessage) -> dict[str, str]:
    """Return the properties, none where one of them is not text: the client raises at the first such byte."""
    try:
        return message.properties()
    except UnicodeDecodeError:
        return {}


def position_text(account: str, position: Position) -> str:
    """Return the key of a dead letter: `<account>/<source partition>:<ledger>:<entry>:<batch index>`."""
    return f"{account}/{position.partition}:{position.ledger}:{position.entry}:{position.batch_index}"
