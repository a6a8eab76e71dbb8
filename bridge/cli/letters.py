"""Reads the dead letters from Kafka, only what was committed, from a time on to what is there now."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Collection
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from aiokafka import TopicPartition
from cyclopts import Parameter
from msgspec import Struct

from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import ends_of, open_reader
from bridge.cli.reasons import REMEDIES
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import partition_of, topic_name
from bridge.typed import printable, typed
from schemas import DeadLetter
from schemas.unreadable import UNREADABLE

Since = Annotated[
    str | None,
    Parameter(help="Only from then on: an age such as 30m, 24h or 7d, or a time such as 2026-03-01T12:00."),
]
OfReason = Annotated[
    tuple[str, ...], Parameter(help="Only this reason; may be given several times.", negative=())
]
OfAccount = Annotated[
    tuple[str, ...], Parameter(help="Only this account; may be given several times.", negative=())
]

_AGE: Final = re.compile(r"(\d{1,6})([smhd])")
_UNITS_MS: Final = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_POLL_MS: Final = 500

_decode = msgspec.json.Decoder(DeadLetter).decode


class Wanted(Struct, frozen=True, kw_only=True):
    """Which dead letters; what is empty does not restrict."""

    key: str | None = None
    reasons: frozenset[str] = frozenset()
    accounts: frozenset[str] = frozenset()
    since_ms: int | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether it is one of them."""
        return (
            (self.key is None or letter.source_position == self.key)
            and (not self.reasons or letter.reason in self.reasons)
            and (not self.accounts or letter.account in self.accounts)
            and (self.since_ms is None or letter.received_at_ms >= self.since_ms)
        )


class Letter(Struct, frozen=True):
    """One record: its value as it stands in Kafka, and decoded."""

    value: bytes
    dead_letter: DeadLetter


class Present:
    """Counts what is there, wanted or not: where nothing matches, somebody has to be told what would."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.accounts: Counter[str] = Counter()

    def add(self, letter: DeadLetter) -> None:
        """Count one."""
        self.reasons[letter.reason] += 1
        self.accounts[letter.account] += 1

    def check(self, wanted: Wanted, accounts: Collection[str]) -> list[str]:
        """Return a note for each reason or account of which there is none. `accounts` are those configured.

        Raises CommandFailed for a reason or an account that does not exist at all.
        """
        notes = []
        for option, names, present, known in (
            ("--reason", wanted.reasons, self.reasons, REMEDIES.keys()),
            ("--account", wanted.accounts, self.accounts, accounts),
        ):
            there = ", ".join(f"{printable(name)} {count}" for name, count in present.most_common())
            for name in sorted(names - present.keys()):
                told = (
                    f"{option} {typed(name)}: there are no such dead letters. There are: {there or 'none'}."
                )
                if known and name not in known:
                    exist = ", ".join(printable(each) for each in sorted({*known, *present}))
                    raise CommandFailed(
                        ExitCode.USAGE, f"{option} {typed(name)} does not exist. Known: {exist}."
                    )
                notes.append(told)
        return notes


async def read_letters(
    settings: KafkaSettings, wanted: Wanted, present: Present | None = None
) -> AsyncGenerator[Letter, None]:
    """Yield the wanted ones, each partition's in order; count all in `present`. What is no dead letter is left out."""
    topic = topic_name(settings.prefix, "dead-letters")
    async with open_reader(settings, topic) as (consumer, count):
        numbers = range(count) if wanted.key is None else [partition_of(wanted.key.encode(), count)]
        places = [TopicPartition(topic, number) for number in numbers]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        if wanted.since_ms is not None:
            starts = await consumer.offsets_for_times(dict.fromkeys(places, wanted.since_ms))
            for place in places:
                start = starts.get(place)
                # No record is that young: only the end is of interest.
                if start is None:
                    await consumer.seek_to_end(place)
                else:
                    consumer.seek(place, start.offset)
        open_ends = await ends_of(consumer)
        while open_ends:
            for records in (await consumer.getmany(*open_ends, timeout_ms=_POLL_MS)).values():
                for record in records:
                    letter = _letter(record.value or b"")
                    if letter is None:
                        continue
                    if present is not None:
                        present.add(letter.dead_letter)
                    if wanted.matches(letter.dead_letter):
                        yield letter
            for place, end in list(open_ends.items()):
                if await consumer.position(place) >= end:
                    del open_ends[place]


def _letter(value: bytes) -> Letter | None:
    try:
        return Letter(value, _decode(value))
    except UNREADABLE:
        return None


def since_ms(text: str | None, now_ms: int | None = None) -> int | None:
    """Return the time that an age or a date names. Raises CommandFailed for what is neither."""
    if text is None:
        return None
    now_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    age = _AGE.fullmatch(text)
    if age is not None:
        return max(0, now_ms - int(age[1]) * _UNITS_MS[age[2]])
    try:
        at = datetime.fromisoformat(text)
        return max(0, round(at.astimezone(UTC).timestamp() * 1000))
    except (ValueError, OverflowError, OSError):
        raise CommandFailed(
            ExitCode.USAGE,
            f"--since {typed(text)} is neither an age such as 30m, 24h or 7d, nor a time such as 2026-03-01T12:00.",
        ) from None
