"""Every secret that a test makes is looked for in whatever the test run puts out: one that is found fails its test.

Learnt are the texts of all `Secret`s and the access tokens of all clients of this process. Looked through are what a
test printed and logged; at the end the logs of all programs that were started, and the last records of every
topic's partitions. The files that hold a secret for a program are no output.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from bridge.clouds.tokens import Token, Tokens
from consumer.secret import Secret

SHORTEST: Final = 12
"""A shorter text is a word that may stand anywhere."""
FEWEST_LETTERS: Final = 6
"""One of fewer is a filling, such as `xxxx`, that may stand anywhere too."""
_BROKERS_LOGS: Final = ("pulsar.log", "kafka.log")
"""What the brokers themselves write, is theirs: Pulsar logs whom it let in."""
_WORDS: Final = (re.compile(r"[0-9A-Za-z_.+/=-]{12,}"), re.compile(r"[0-9A-Za-z_-]{12,}"))
"""With and without what also stands between words."""
_TAIL: Final = -2000 - 100
"""librdkafka's way to say: a hundred records before the end."""
_PARTITIONS_AT_ONCE: Final = 300
_READ_WITHIN_S: Final = 5.0
_MOST_LOG_BYTES: Final = 64 * 1024 * 1024


class SecretWatch:
    """What this process learnt, and where it was found."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._of_this_test: set[str] = set()

    def learn(self, text: str) -> None:
        """Take note of a secret."""
        if len(text) >= SHORTEST and len(set(text)) >= FEWEST_LETTERS:
            self._known.add(text)
            self._of_this_test.add(text)

    def forget_test(self) -> None:
        """The next test begins."""
        self._of_this_test.clear()

    def found_in(self, text: str) -> str | None:
        """Return the beginning of a secret that stands in the text."""
        # Those of earlier tests as whole words only: thousands of searches for each test would take longer than it.
        by_word = {found for words in _WORDS for found in self._known.intersection(words.findall(text))}
        found = by_word or {secret for secret in self._of_this_test if secret in text}
        return min(found)[:4] + "…" if found else None


watch: Final = SecretWatch()


def begin() -> None:
    """Learn from now on."""
    Secret.__init__ = _learning(Secret.__init__)  # type: ignore[method-assign]
    get = Tokens.get

    async def get_and_learn(self: Tokens) -> Token:
        token = await get(self)
        watch.learn(token.value)
        return token

    Tokens.get = get_and_learn  # type: ignore[method-assign]


def judge(report: pytest.TestReport) -> None:
    """Fail a test whose output shows a secret; a failed one only says so."""
    found = watch.found_in("\n".join(text for _, text in report.sections))
    if found is None:
        return
    if report.passed:
        report.outcome = "failed"
        report.longrepr = f"a secret was put out: {found}"
    else:
        report.sections.append(("secrets", f"a secret was put out: {found}"))


def leaks_in_logs(folder: Path) -> list[str]:
    """Return the logs below a folder in which a secret stands."""
    return [
        f"{found} in {file}"
        for file in folder.rglob("*.log")
        if file.is_file() and file.name not in _BROKERS_LOGS and file.stat().st_size <= _MOST_LOG_BYTES
        if (found := watch.found_in(file.read_text(encoding="utf-8", errors="replace"))) is not None
    ]


def leaks_on_kafka(bootstrap_servers: str) -> list[str]:
    """Return in which topics' records a secret stands; of each partition the last ones are read."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "secret-watch",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            # The broker tells of an end only after it waited this long for more.
            "fetch.wait.max.ms": 20,
        }
    )
    try:
        topics = consumer.list_topics(timeout=10).topics
        places = [
            TopicPartition(name, partition, _TAIL)
            for name, topic in topics.items()
            if not name.startswith("__")
            for partition in topic.partitions
        ]
        found = [
            _leak_in(consumer, places[start : start + _PARTITIONS_AT_ONCE])
            for start in range(0, len(places), _PARTITIONS_AT_ONCE)
        ]
    finally:
        consumer.close()
    return [leak for leak in found if leak is not None]


def _leak_in(consumer: Consumer, places: list[TopicPartition]) -> str | None:
    consumer.assign(places)
    unread = {(place.topic, place.partition) for place in places}
    texts: list[str] = []
    by = time.monotonic() + _READ_WITHIN_S
    while unread and time.monotonic() < by:
        for message in consumer.consume(1000, timeout=0.2):
            if message.error() is None:
                texts.append(repr((message.topic(), message.key(), message.value(), message.headers())))
            else:
                unread.discard((message.topic() or "", message.partition() or 0))
    found = watch.found_in("\n".join(texts))
    return None if found is None else f"{found} in one of {sorted({place.topic for place in places})}"


def _learning(init: Callable[..., None]) -> Callable[..., None]:
    def init_and_learn(self: Secret, text: str, *more: Any) -> None:
        init(self, text, *more)
        watch.learn(text)

    return init_and_learn
