"""What `ota-bridge listen` puts in Kafka's place: a sink that shows each record, and the summary at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from bridge.cli.console import console, write_json
from bridge.cli.failure import CommandFailed, not_written
from bridge.cli.push_lines import dead_letter_line, observation_line
from bridge.cli.reasons import CONFIGURED_KEYS, remedy_of
from bridge.typed import printable
from consumer.settings import GatewaySettings
from consumer.sink import OutgoingRecord, SinkClosed, TopicName
from consumer.statistics import AccountStatistics
from schemas import DeadLetter, Observation

_NOTE_AFTER_S: Final = 10.0
_ADVICE_AFTER_S: Final = 30.0
_OTA_MESSAGES: Final = frozenset({"upgradeStatus", "upgradeProcess", "deviceOtaProgress"})

_observation = msgspec.json.Decoder(Observation).decode
_dead_letter = msgspec.json.Decoder(DeadLetter).decode


class Shown:
    """Counts what was shown."""

    def __init__(self) -> None:
        self.lines = 0
        self.names: Counter[str] = Counter()
        """By bizCode."""
        self.observations: Counter[str] = Counter()
        """By kind."""
        self.dead_letters: Counter[str] = Counter()
        """By reason."""

    def add(self, seen: Observation | DeadLetter) -> None:
        """Count one line."""
        self.lines += 1
        if isinstance(seen, DeadLetter):
            self.dead_letters[seen.reason] += 1
        elif seen.kind != "gap":
            self.observations[seen.kind] += 1
            self.names[seen.evidence.name] += 1

    def left(self, account: AccountStatistics) -> int:
        """Return how many lines more the messages would make that were received and not shown."""
        received = sum(account.observations.values()) + sum(account.dead_letters.values())
        return received - self.observations.total() - self.dead_letters.total()


class Screen(Protocol):
    """Shows records in one form."""

    def show(self, record: OutgoingRecord, seen: Observation | DeadLetter) -> None:
        """Show one record."""
        ...

    def summary(self, account: AccountStatistics, shown: Shown, took_s: float) -> None:
        """Show how it went."""
        ...


class ScreenSink:
    """Implements `consumer.sink.Sink`: a record counts as confirmed once it is shown.

    Raises SinkClosed from the record after the `limit`th on, and when nobody reads the output any more. `keep` is given
    each dead letter before it is shown; where it fails, nothing more is shown either.
    """

    def __init__(
        self,
        screen: Screen,
        *,
        limit: int | None,
        enough: Callable[[], None],
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        self._screen = screen
        self._limit = limit
        self._enough = enough
        self._keep = keep
        self.shown = Shown()
        self.failure: CommandFailed | None = None
        """Why a dead letter was not kept, or a line not shown."""

    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        """Show each record; none is ever refused."""
        for index, record in enumerate(records):
            # Progress is for the gap detection of those who have a Kafka to keep it in.
            if record.topic not in ("observations", "dead-letters"):
                continue
            if self.shown.lines == self._limit:
                raise SinkClosed(confirmed=index)
            seen = (_observation if record.topic == "observations" else _dead_letter)(record.value)
            try:
                if self._keep is not None and isinstance(seen, DeadLetter):
                    self._keep(record.value)
                self._screen.show(record, seen)
            except BrokenPipeError:
                raise SinkClosed(confirmed=index) from None
            except CommandFailed as failure:
                self.failure = failure
                raise SinkClosed(confirmed=index) from None
            except OSError as error:
                self.failure = not_written(error)
                raise SinkClosed(confirmed=index) from None
            self.shown.add(seen)
        if self.shown.lines == self._limit:
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
        write_json({"type": kind, kind: msgspec.Raw(record.value)})

    def summary(self, account: AccountStatistics, shown: Shown, took_s: float) -> None:
        """Write the counts: of what was shown, and of everything received."""
        write_json(
            {
                "type": "summary",
                "seconds": round(took_s, 1),
                "shown": shown.lines,
                "by_name": shown.names,
                "observations": shown.observations,
                "dead_letters": shown.dead_letters,
                "not_shown": shown.left(account),
                "received": account.received,
                "filtered": account.filtered,
                "unlisted": account.unlisted,
                "notices": account.notices,
                "signatures": account.signatures,
                "keys": account.keys,
                "unknown_statuses": account.unknown_statuses,
                "unrecognised_members": account.unrecognised_members,
                "acknowledged": account.acknowledged,
            }
        )


class TextScreen:
    """Coloured lines, and a table at the end.

    `keys` is where the access key came from, `kept` the file of what was not understood.
    """

    def __init__(self, *, keys: str = CONFIGURED_KEYS, kept: str | None = None) -> None:
        self._console = console()
        self._keys = keys
        self._kept = kept

    def show(self, _record: OutgoingRecord, seen: Observation | DeadLetter) -> None:
        """Print one line."""
        self._console.print(
            observation_line(seen) if isinstance(seen, Observation) else dead_letter_line(seen)
        )

    def summary(self, account: AccountStatistics, shown: Shown, took_s: float) -> None:
        """Print the counts, and what to do about what is wrong."""
        table = Table(box=None, show_header=False)
        table.add_column(justify="right")
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for row in summary_rows(account, shown):
            table.add_row(str(row.count), row.what, Text(row.detail))
        self._console.print(
            f"\n{account.received} messages received in {took_s:.0f} s, {shown.lines} lines shown"
        )
        self._console.print(table)
        for remark in remarks(account, shown, keys=self._keys, kept=self._kept):
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


def summary_rows(account: AccountStatistics, shown: Shown) -> list[Row]:
    """Return what became of the messages: each is in one row of the upper part, or in two for a conflict of ids."""
    left = shown.left(account)
    parts: list[tuple[str, Mapping[str, int], str]] = [
        ("understood", shown.observations, f"{_told(shown.observations)} ({_told(shown.names)})"),
        ("dead letters", shown.dead_letters, _told(shown.dead_letters)),
        ("not shown", {"lines": left} if left else {}, "not acknowledged either: they come again"),
        ("filtered by protocol", account.filtered, _told(account.filtered)),
        ("not about devices' upgrades", account.unlisted, _told(account.unlisted)),
        ("notices of the platform", account.notices, _told(account.notices)),
        (
            "signatures checked",
            account.signatures,
            f"{_told(account.signatures)}; key: {_told(account.keys)}",
        ),
    ]
    return [Row(sum(counts.values()), what, detail) for what, counts, detail in parts if counts]


def remarks(
    account: AccountStatistics, shown: Shown, *, keys: str = CONFIGURED_KEYS, kept: str | None = None
) -> list[str]:
    """Return what a newcomer should know about these counts."""
    said = [f"{reason}: {remedy_of(reason, keys=keys)}." for reason in shown.dead_letters]
    if shown.dead_letters and kept is None:
        said.append(
            "What was not understood is shown once and not kept: with --save FILE the next such messages are, and"
            " `ota-bridge decrypt` looks into them."
        )
    elif shown.dead_letters:
        said.append(
            f"What was not understood is in {kept} as it came, still encrypted, one message a line;"
            f" `head -n 1 {kept} | ota-bridge decrypt` looks into the first. Delete the file when it has served."
        )
    if account.signatures.get("unverified"):
        said.append(
            "Signatures that no known key made were let pass (sign policy warn); the daemon requires them unless its"
            " configuration says warn."
        )
    if account.keys.get("previous"):
        said.append("Some messages still come with the previous access key: keep it configured.")
    if not _OTA_MESSAGES & shown.names.keys():
        said.append(
            "No firmware message came. In the cloud's console a messaging rule for this environment has to be"
            " enabled, and its filter has to let upgradeStatus pass; then start an upgrade of a device."
        )
    return said


def _told(counts: Mapping[str, int]) -> str:
    most_first = sorted(counts.items(), key=lambda item: -item[1])
    return ", ".join(f"{printable(name)} {count}" for name, count in most_first) or "none"
