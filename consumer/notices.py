"""What the platform tells an account about itself on the `notice` channel: so far, that somebody reads too slowly.

A notice is about no device, so it becomes a warning and a line in the statistics, never an observation. Source: the
message gateway contract, section 8.4; the platform repeats a backlog's notice every quarter of an hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
import structlog
from msgspec import Struct

from consumer.settings import GatewayAccount
from consumer.statistics import BacklogAlert, Counters

log = structlog.get_logger(__name__)

NOTICE_BIZ_CODE: Final = "HighPriorityNotice"
_BACKLOG: Final = "pulsar_backlog_notice"
_TEXT_LIMIT: Final = 256

_OWN_REMEDY: Final = (
    "the consumer is stopped or too slow: see oldest_unacknowledged_age_s of the account in /status, what grows older"
    " than the gateway's retention is lost; check that Kafka confirms, or start another copy with --stage consumer"
)
_FOREIGN_REMEDY: Final = (
    "this is not the bridge's subscription: whoever reads it is stopped or too slow; delete it in the cloud's console"
    " if nobody does"
)


class Notice(Struct, frozen=True, gc=False):
    """A `HighPriorityNotice`: its type, and what that type tells."""

    event_type: str
    members: Mapping[str, Any]


def read_notice(biz_data: object) -> Notice:
    """Read the `bizData` of a notice; what cannot be read of it is left out."""
    data = biz_data if isinstance(biz_data, dict) else {}
    members = data.get("eventData")
    if isinstance(members, str):
        # The vendor puts the JSON of these members into a string of the outer JSON.
        try:
            members = msgspec.json.decode(members)
        except (msgspec.MsgspecError, RecursionError):
            members = {}
    return Notice(_text(data.get("eventType")) or "(untyped)", members if isinstance(members, dict) else {})


def take_notice(notice: Notice, account: GatewayAccount, sent_at_ms: int, counters: Counters) -> None:
    """Count a notice, and warn."""
    counters.notices.add_foreign(notice.event_type)
    if notice.event_type != _BACKLOG:
        log.warning(
            "gateway_notice",
            account=account.name,
            event_type=notice.event_type,
            sent_at_ms=sent_at_ms,
            remedy="a notice of a kind that this version does not know: see the cloud's console",
        )
        return
    subscription = _text(notice.members.get("subscription"))
    alert = BacklogAlert(
        sent_at_ms=sent_at_ms,
        data_center=_text(notice.members.get("dataCenter")),
        topic=_text(notice.members.get("topic")),
        subscription=subscription,
        own_subscription=None if subscription is None else subscription == account.gateway.subscription,
        backlog_messages=_count(notice.members.get("backLogNum")),
    )
    counters.backlog_alert = alert
    log.warning(
        "gateway_backlog",
        account=account.name,
        **msgspec.to_builtins(alert),
        remedy=_FOREIGN_REMEDY if alert.own_subscription is False else _OWN_REMEDY,
    )


def _text(value: object) -> str | None:
    """Return a stranger's text, short and without what a terminal would obey."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(character if character.isprintable() else "�" for character in value[:_TEXT_LIMIT])


def _count(value: object) -> int | None:
    """Read a number, also one written as a text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(2**63)):
        value = int(value)
    return value if type(value) is int and value >= 0 else None
