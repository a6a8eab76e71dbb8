"""What `ota-bridge listen` puts in Kafka's place: a sink that shows each record, and the summary at the end."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.cli.lines import printable
from bridge.cli.push_lines import dead_letter_line, observation_line
from bridge.cli.reasons import remedy_of
from consumer.settings import GatewaySettings
from consumer.sink import OutgoingRecord, TopicName
from consumer.statistics import AccountStatistics
from schemas import DeadLetter, Observation

_NOTE_AFTER_S: Final = 10.0
_ADVICE_AFTER_S: Final = 30.0
_OTA_MESSAGES: Final = frozenset({"upgradeStatus", "upgradeProcess", "deviceOtaProgress"})

_observation = msgspec.json.Decoder(Observation).decode
_dead_letter = msgspec.json.Decoder(DeadLetter).decode


class EnoughShown(Exception):
    """Nobody wants to see more: what was not shown must not be acknowledged either."""


class Screen(Protocol):
    """Shows records in one form."""

    def show(self, record: OutgoingRecord, seen: Observation | DeadLetter) -> None:
        """Show one record."""
        ...

    def summary(self, account: AccountStatistics, names: Mapping[str, int], took_s: float) -> None:
        """Show how it went; `names` counts the messages by bizCode."""
        ...


class ScreenSink:
    """Implements `consumer.sink.Sink`: a record counts as confirmed once it is shown.

    Raises EnoughShown from the record after the `limit`th on, and when nobody reads the output any more.
    """

    def __init__(self, screen: Screen, *, limit: int | None, enough: Callable[[], None]) -> None:
        self._screen = screen
        self._limit = limit
        self._enough = enough
        self.shown = 0
        self.names: Counter[str] = Counter()

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        """Show each record; none is ever refused."""
        for record in records:
            # Progress is for the gap detection of those who have a Kafka to keep it in.
            if record.topic not in ("observations", "dead-letters"):
                continue
            if self.shown == self._limit:
                raise EnoughShown
            seen: Observation | DeadLetter
            if record.topic == "observations":
                seen = _observation(record.value)
                self.names[seen.evidence.name] += 1
            else:
                seen = _dead_letter(record.value)
            try:
                self._screen.show(record, seen)
            except BrokenPipeError:
                raise EnoughShown from None
            self.shown += 1
        if self.shown == self._limit:
            self._enough()
        return ()

    def partitions(self, topic: TopicName) -> int:  # noqa: ARG002 (a terminal has no partitions)
        """Return one: what every partition of a topic must get is shown once."""
        return 1


class JsonScreen:
    """One JSON object a line, `type` tells which: `observation`, `dead_letter`, at the end `summary`."""

    def show(self, record: OutgoingRecord, seen: Observation | DeadLetter) -> None:
        """Write the record's own JSON."""
        kind = "observation" if isinstance(seen, Observation) else "dead_letter"
        self._write({"type": kind, kind: msgspec.Raw(record.value)})

    def summary(self, account: AccountStatistics, names: Mapping[str, int], took_s: float) -> None:
        """Write the counts."""
        self._write(
            {
                "type": "summary",
                "seconds": round(took_s, 1),
                "received": account.received,
                "by_name": dict(names),
                "observations": account.observations,
                "filtered": account.filtered,
                "unlisted": account.unlisted,
                "notices": account.notices,
                "dead_letters": account.dead_letters,
                "signatures": account.signatures,
                "keys": account.keys,
                "unknown_statuses": account.unknown_statuses,
                "unrecognised_members": account.unrecognised_members,
                "acknowledged": account.acknowledged,
            }
        )

    @staticmethod
    def _write(line: Mapping[str, Any]) -> None:
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()


class CommandConsole(Console):
    """A console that tells when nobody reads the output any more, where rich's own ends the process with 1."""

    def on_broken_pipe(self) -> None:
        """Let the command decide."""
        raise BrokenPipeError


class TextScreen:
    """Coloured lines, and a table at the end."""

    def __init__(self) -> None:
        self._console = CommandConsole(highlight=False, soft_wrap=True)

    def show(self, _record: OutgoingRecord, seen: Observation | DeadLetter) -> None:
        """Print one line."""
        self._console.print(
            observation_line(seen) if isinstance(seen, Observation) else dead_letter_line(seen)
        )

    def summary(self, account: AccountStatistics, names: Mapping[str, int], took_s: float) -> None:
        """Print the counts, and what to do about what is wrong."""
        table = Table(box=None, show_header=False)
        table.add_column(justify="right")
        table.add_column(style="bold")
        table.add_column()
        for row in summary_rows(account, names):
            table.add_row(str(row.count), row.what, Text(row.detail))
        self._console.print(f"\n{account.received} messages in {took_s:.0f} s")
        self._console.print(table)
        for remark in remarks(account, names):
            self._console.print(Text(remark, "yellow"))


class Notes:
    """What to tell somebody who watches while nothing is shown. Times are seconds since the start."""

    def __init__(self, gateway: GatewaySettings) -> None:
        self._gateway = gateway
        self._connected = False
        self._advised = False
        self._at_s = 0.0
        self._before = (0, 0)

    def due(self, account: AccountStatistics, shown: int, now_s: float) -> str | None:
        """Return what has to be told now, if anything."""
        if not self._connected:
            if account.state != "running":
                return None
            self._connected, self._at_s = True, now_s
            return f"Listening to {', '.join(self._gateway.topics)} by {self._gateway.subscription}; Ctrl-C ends."
        received, shown_before = self._before
        if shown != shown_before or now_s - self._at_s < _NOTE_AFTER_S:
            if shown != shown_before:
                self._before, self._at_s = (account.received, shown), now_s
            return None
        if account.received > received:
            self._before, self._at_s = (account.received, shown), now_s
            told = _told({f"protocol {number}": count for number, count in account.filtered.items()})
            return f"… {account.received} messages so far, {shown} to show; filtered: {told}."
        if not account.received and not self._advised and now_s - self._at_s >= _ADVICE_AFTER_S:
            self._advised = True
            return (
                "Nothing has come yet. The cloud pushes once a messaging rule for this environment is enabled in its"
                " console."
            )
        return None


class Row(Struct, frozen=True):
    """A line of the summary."""

    count: int
    what: str
    detail: str


def summary_rows(account: AccountStatistics, names: Mapping[str, int]) -> list[Row]:
    """Return what became of the messages: each is in one row of the upper part, or in two for a conflict of ids."""
    parts: list[tuple[str, Mapping[str, int], str]] = [
        ("understood", account.observations, f"{_told(account.observations)} ({_told(names)})"),
        ("filtered by protocol", account.filtered, _told(account.filtered)),
        ("not about devices' upgrades", account.unlisted, _told(account.unlisted)),
        ("notices of the platform", account.notices, _told(account.notices)),
        ("dead letters", account.dead_letters, _told(account.dead_letters)),
        (
            "signatures checked",
            account.signatures,
            f"{_told(account.signatures)}; key: {_told(account.keys)}",
        ),
    ]
    return [Row(sum(counts.values()), what, detail) for what, counts, detail in parts if counts]


def remarks(account: AccountStatistics, names: Mapping[str, int]) -> list[str]:
    """Return what a newcomer should know about these counts."""
    said = [f"{reason}: {remedy_of(reason)}." for reason in account.dead_letters]
    if account.signatures.get("unverified"):
        said.append(
            "Signatures that no configured key made were let pass (sign_policy = warn); the daemon requires them."
        )
    if account.keys.get("previous"):
        said.append("Some messages still come with the previous access key: keep it configured.")
    if not _OTA_MESSAGES & names.keys():
        said.append(
            "No firmware message came. In the cloud's console a messaging rule for this environment has to be"
            " enabled, and its filter has to let upgradeStatus pass; then start an upgrade of a device."
        )
    return said


def _told(counts: Mapping[str, int]) -> str:
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{printable(name)} {count}" for name, count in most_first) or "none"
