"""Every secret that a test makes is looked for in whatever the test run puts out: one that is found fails its test.

Learnt are the texts of all `Secret`s and the access tokens of all clients of this process. Looked through are what a
test printed and logged; at the end the logs of all programs that were started, and the first and last records of every
topic's partitions. The files that hold a secret for a program are no output.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Consumer, TopicPartition

from bridge.clouds.tokens import Token, Tokens
from consumer.secret import Secret

SHORTEST: Final = 12
"""A shorter text is a word that may stand anywhere."""
_WORD: Final = re.compile(r"[0-9A-Za-z_.+/=-]{12,}")
_RECORDS_AT_EACH_END: Final = 500
_MOST_LOG_BYTES: Final = 64 * 1024 * 1024


class SecretWatch:
    """What this process learnt, and where it was found."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._of_this_test: set[str] = set()

    def learn(self, text: str) -> None:
        """Take note of a secret."""
        if len(text) >= SHORTEST:
            self._known.add(text)
            self._of_this_test.add(text)

    def forget_test(self) -> None:
        """The next test begins."""
        self._of_this_test.clear()

    def found_in(self, text: str) -> str | None:
        """Return the beginning of a secret that stands in the text."""
        # Those of earlier tests as whole words only: thousands of searches for each test would take longer than it.
        by_word = self._known.intersection(_WORD.findall(text))
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
        if file.is_file() and file.stat().st_size <= _MOST_LOG_BYTES
        if (found := watch.found_in(file.read_text(encoding="utf-8", errors="replace"))) is not None
    ]


def leaks_on_kafka(bootstrap_servers: str) -> list[str]:
    """Return the topics in whose records a secret stands; of each partition the first and the last are read."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "secret-watch", "enable.auto.commit": False}
    )
    leaks = []
    try:
        for name, topic in consumer.list_topics(timeout=10).topics.items():
            if name.startswith("__"):
                continue
            for partition in topic.partitions:
                place = TopicPartition(name, partition)
                low, high = consumer.get_watermark_offsets(place, timeout=10)
                for begin_at in {low, max(low, high - _RECORDS_AT_EACH_END)}:
                    text = _read(consumer, TopicPartition(name, partition, begin_at), high)
                    if (found := watch.found_in(text)) is not None:
                        leaks.append(f"{found} in {name}/{partition}")
    finally:
        consumer.close()
    return leaks


def _read(consumer: Consumer, begin: TopicPartition, high: int) -> str:
    consumer.assign([begin])
    texts: list[str] = []
    last = begin.offset - 1
    while last + 1 < min(high, begin.offset + _RECORDS_AT_EACH_END):
        messages = consumer.consume(_RECORDS_AT_EACH_END, timeout=1.0)
        if not messages:
            break  # what is left are marks of transactions
        last = messages[-1].offset() or last
        texts += [repr((message.key(), message.value(), message.headers())) for message in messages]
    return "\n".join(texts)


def _learning(init: Callable[..., None]) -> Callable[..., None]:
    def init_and_learn(self: Secret, text: str, *more: Any) -> None:
        init(self, text, *more)
        watch.learn(text)

    return init_and_learn
