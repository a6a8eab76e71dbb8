"""Everything that can go wrong in stage one, one class per decision:

    ConsumerError
    ├── Misconfigured   a gateway table that no connection can be made from; nothing starts (usage error)
    ├── Rejected        a message that can never succeed; it becomes a dead letter and is acknowledged
    │   └── IdConflict  it names two devices; the dead letter goes with a hint for each of them
    ├── AccountStopped  the gateway refuses this account; the others go on, and it is asked about again (`stopped`)
    └── NoAccountLeft   every account is stopped; the process ends (refused by a cloud)

What passes by itself (Kafka away, the gateway unreachable, a restarting broker) is not an error: it is retried
for ever and shown in the statistics.
"""

from __future__ import annotations

from collections.abc import Iterable


class ConsumerError(Exception):
    """The root of the tree."""


class Misconfigured(ConsumerError):
    """The settings of an account contradict themselves or the wire format."""


class Rejected(ConsumerError):
    """The message can never succeed. `detail` is for humans and never holds a secret or a decrypted value."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}")


class IdConflict(Rejected):
    """The message names two devices and says not which it means: neither is changed, both are asked about."""

    def __init__(self, *device_ids: str) -> None:
        self.device_ids = device_ids
        super().__init__("id_conflict", "bizData.devId and the top-level devId differ")


class AccountStopped(ConsumerError):
    """The gateway said no, again and again: what is refused, where, and what to do."""

    def __init__(self, account: str, what: str, remedy: str | None) -> None:
        self.account = account
        self.what = what
        self.remedy = remedy
        super().__init__(what if remedy is None else f"{what}: {remedy}")


class NoAccountLeft(ConsumerError):
    """The gateway refused every account, and each was told why: there is nothing left to listen to."""

    def __init__(self, accounts: Iterable[str]) -> None:
        self.accounts = tuple(accounts)
        super().__init__(f"no gateway account is left; refused: {', '.join(self.accounts)}")
