"""What waits at the gateway, asked of a scripted broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from consumer import pulsar_frames
from consumer.backlog import FOUND_FOR_S, Backlog, BacklogQuestion, BacklogUnknown
from consumer.pulsar_frames import Command
from tests.gateway_messages import ACCESS_KEY, account
from tests.played_broker import PlayedBroker, error_frame, listening, metadata_frame

_MINUS_ONE = (1 << 64) - 1


@pytest.fixture
async def broker() -> AsyncIterator[PlayedBroker]:
    async with listening(PlayedBroker()) as broker:
        broker.answers |= {
            Command.PARTITIONED_METADATA: lambda: metadata_frame(3),
            Command.SUBSCRIBE: lambda: pulsar_frames._frame(Command.SUCCESS, (1, _asked(broker, 5))),
            Command.LAST_MESSAGE_ID: lambda: _answer(broker, (7, 20), (7, 10 * _asked(broker, 1))),
        }
        yield broker


def _asked(broker: PlayedBroker, field: int) -> int:
    number = broker.asked[-1][1][field]
    assert isinstance(number, int)
    return number


def _answer(broker: PlayedBroker, last: tuple[int, int], done: tuple[int, int] | None) -> bytes:
    fields = (_id(1, last), _varint(2, _asked(broker, 2)), b"" if done is None else _id(3, done))
    body = b"".join(fields)
    base = _varint(1, 30) + b"\xf2\x01" + bytes((len(body),)) + body
    return (len(base) + 4).to_bytes(4) + len(base).to_bytes(4) + base


def _id(field: int, entry: tuple[int, int]) -> bytes:
    body = b"".join(_varint(number, value) for number, value in enumerate(entry, 1))
    return bytes((field << 3 | 2, len(body))) + body


def _varint(field: int, value: int) -> bytes:
    return pulsar_frames._field(field, value)


def _question(broker: PlayedBroker) -> BacklogQuestion:
    return BacklogQuestion(account(url=broker.url, tls_verify=False))


async def test_every_source_partition_is_told_of_by_whoever_takes_no_turn(broker: PlayedBroker) -> None:
    assert await _question(broker).ask() == [
        Backlog("event/0", (7, 20), (7, 10)),
        Backlog("event/1", (7, 20), (7, 20)),
        Backlog("event/2", (7, 20), (7, 30)),
    ]
    subscribed = [fields for number, fields in broker.asked if number == Command.SUBSCRIBE]
    assert [fields[7] for fields in subscribed] == [10_000] * 3
    assert not {number for number in broker.numbers() if number in (11, 10)}  # FLOW, ACK


async def test_who_serves_what_is_asked_once_until_a_question_fails(broker: PlayedBroker) -> None:
    question = _question(broker)
    for _ in range(2):
        await question.ask()
    assert broker.numbers().count(Command.LOOKUP) == 3

    broker.answers[Command.CONNECT] = lambda: error_frame(6)
    with pytest.raises(BacklogUnknown, match="6"):
        await question.ask()
    broker.answers[Command.CONNECT] = PlayedBroker().answers[Command.CONNECT]
    await question.ask()
    assert broker.numbers().count(Command.LOOKUP) == 6


async def test_source_partitions_that_the_platform_adds_are_asked_about_within_ten_minutes(
    broker: PlayedBroker,
) -> None:
    now_s = 5.0
    question = BacklogQuestion(account(url=broker.url, tls_verify=False), monotonic=lambda: now_s)
    await question.ask()
    broker.answers[Command.PARTITIONED_METADATA] = lambda: metadata_frame(4)

    now_s += FOUND_FOR_S - 1
    assert len(await question.ask()) == 3
    now_s += 1
    assert [backlog.partition for backlog in await question.ask()] == [
        f"event/{number}" for number in range(4)
    ]
    assert FOUND_FOR_S <= 600


async def test_a_topic_without_messages_has_no_entry(broker: PlayedBroker) -> None:
    broker.answers[Command.LAST_MESSAGE_ID] = lambda: _answer(
        broker, (_MINUS_ONE, _MINUS_ONE), (7, _MINUS_ONE)
    )

    assert [(backlog.last, backlog.done, backlog.is_empty) for backlog in await _question(broker).ask()] == [
        ((-1, -1), (7, -1), True)
    ] * 3


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (Command.CONNECT, lambda: error_frame(3)),
        (Command.PARTITIONED_METADATA, lambda: metadata_frame(error=4)),
        (Command.SUBSCRIBE, lambda: error_frame(12)),
        (Command.LAST_MESSAGE_ID, lambda: error_frame(1)),
        (Command.LAST_MESSAGE_ID, lambda: b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ],
)
async def test_whatever_is_refused_is_not_known_and_nothing_worse(
    broker: PlayedBroker, command: Command, answer: Callable[[], bytes]
) -> None:
    broker.answers[command] = answer

    with pytest.raises(BacklogUnknown) as unknown:
        await _question(broker).ask()
    assert ACCESS_KEY not in str(unknown.value)


async def test_a_broker_that_does_not_tell_the_subscriptions_position_cannot_be_asked(
    broker: PlayedBroker,
) -> None:
    broker.answers[Command.LAST_MESSAGE_ID] = lambda: _answer(broker, (7, 20), None)

    with pytest.raises(BacklogUnknown, match="position"):
        await _question(broker).ask()
