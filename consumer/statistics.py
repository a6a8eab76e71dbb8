"""What stage one tells about itself: a frozen record per account, made from the counters that its thread keeps.

Counts are since the start. Names that come from outside (bizCodes) are bounded: a stranger cannot fill the memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

AccountState = Literal["connecting", "running", "stopped"]

_NAME_LIMIT: Final = 64
_NAMES_LIMIT: Final = 100
OTHERS: Final = "(others)"


class BacklogAlert(Struct, frozen=True, kw_only=True, gc=False):
    """The platform told that messages of this project wait; `None` is what it did not tell."""

    sent_at_ms: int
    data_center: str | None
    topic: str | None
    subscription: str | None
    own_subscription: bool | None
    """Whether it is the one this account reads; another's backlog is another program's."""
    backlog_messages: int | None


class AccountStatistics(Struct, frozen=True, kw_only=True):
    """One account. Every received message ends in exactly one of filtered, unlisted, notices, observations, dead
    letters (a conflict of ids adds its hints to the observations; an observation that Kafka refuses as too large is a
    dead letter besides).
    """

    state: AccountState
    message: str | None
    """Why it is not running, with the remedy."""
    asked_again_in_s: float | None = None
    """A stopped account's: until the gateway is asked whether it takes the account again."""
    tls_verified: bool
    received: int
    redelivered: int
    """Came before to this process, and were passed over: after a start, a fail-over or a reconnection."""
    filtered: Mapping[str, int]
    """By protocol number."""
    unlisted: Mapping[str, int]
    """Messages that are none of ours, by bizCode."""
    notices: Mapping[str, int]
    """What the platform told on the `notice` channel, by event type."""
    backlog_alert: BacklogAlert | None
    """The last of the notices that told of a backlog."""
    observations: Mapping[str, int]
    """By kind."""
    unknown_statuses: int
    """Pushed statuses whose value means nothing to us."""
    unrecognised_members: Mapping[str, int]
    """Members of `deviceOtaProgress` that no table knows."""
    dead_letters: Mapping[str, int]
    """By reason."""
    signatures: Mapping[str, int]
    """By the rule that matched: all_fields, core_fields; `unverified` under `sign_policy = "warn"`."""
    keys: Mapping[str, int]
    """By the key that matched: current, previous."""
    acknowledged: int
    subscriptions: int
    """How often the account subscribed: the first time, and anew after silence or an error."""
    unconfirmed_messages: int
    unconfirmed_bytes: int
    paused: bool
    """The pump waits because as much is unconfirmed as the settings allow."""
    oldest_unacknowledged_age_s: float | None
    """Of what was received: against the gateway's retention, what grows older than that is lost."""
    alive_age_s: float | None
    """Since when nothing more is known of the source partition that is furthest behind, which covers what waits at
    the gateway: beyond the retention, less its margin, a gap is told. It rises where one of them is not read, while
    the others flow."""
    furthest_behind: str | None
    """That source partition."""
    backlog_unknown: str | None
    """Why the gateway does not tell what waits. What the client says of its queue is taken instead, which a copy that
    only stands by, or a starved one, has wrong."""
    gaps: int
    last_received_at_ms: int | None
    source_partitions: int


class IngestStatistics(Struct, frozen=True, kw_only=True):
    """The stage: one record per account, by alias."""

    accounts: Mapping[str, AccountStatistics]


class Counts(Counter[str]):
    """Counts by name; written by one thread, read by any."""

    def add_foreign(self, name: str) -> None:
        """Count under a name from outside, as long as there are not too many of them."""
        name = name[:_NAME_LIMIT]
        self[name if name in self or len(self) < _NAMES_LIMIT else OTHERS] += 1


class Counters:
    """What the thread of one account counts while it works."""

    def __init__(self) -> None:
        self.received = 0
        self.redelivered = 0
        self.filtered: Counter[int] = Counter()
        self.unlisted = Counts()
        self.notices = Counts()
        self.backlog_alert: BacklogAlert | None = None
        self.observations = Counts()
        self.unknown_statuses = 0
        self.unrecognised_members = Counts()
        self.dead_letters = Counts()
        self.signatures = Counts()
        self.keys = Counts()
        self.acknowledged = 0
        self.subscriptions = 0
        self.last_received_at_ms: int | None = None
