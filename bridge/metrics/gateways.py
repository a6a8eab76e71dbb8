"""The consumer: each account's message gateway."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from prometheus_client.core import Metric

from bridge.metrics.families import by, counter, each, gauge
from consumer.statistics import AccountState, AccountStatistics
from schemas.vocabulary import DeadLetterReason, words_of


def gateway_metrics(accounts: Mapping[str, AccountStatistics]) -> Iterator[Metric]:
    """The headline is `gateway_alive_age_seconds`, against the two hours that the gateway keeps a message."""
    told = [({"account": name}, account) for name, account in accounts.items()]
    yield gauge(
        "gateway_state",
        "1 for the state that an account's gateway is in.",
        [
            ({"account": name, "state": state}, account.state == state)
            for name, account in accounts.items()
            for state in get_args(AccountState)
        ],
    )
    yield gauge(
        "gateway_alive_age_seconds",
        "Since when nothing more is known of the source partition furthest behind; above two hours messages are lost.",
        each(told, lambda account: account.alive_age_s),
    )
    yield gauge(
        "gateway_oldest_unacknowledged_age_seconds",
        "Age of the oldest message that was received and is not acknowledged.",
        each(told, lambda account: account.oldest_unacknowledged_age_s),
    )
    yield counter(
        "gateway_gaps",
        "Times at which messages may have been lost.",
        each(told, lambda account: account.gaps),
    )
    yield gauge(
        "gateway_backlog_unknown",
        "1: the gateway does not tell what waits, and the ages are a guess.",
        each(told, lambda account: account.backlog_unknown is not None),
    )
    yield gauge(
        "gateway_backlog_alert_timestamp_seconds",
        "When the platform last alerted that too much waits for this subscription, Unix time.",
        each(told, _alerted_at_s),
    )
    yield counter("gateway_received", "Messages received.", each(told, lambda account: account.received))
    yield counter(
        "gateway_redelivered",
        "Messages that had come before.",
        each(told, lambda account: account.redelivered),
    )
    yield counter(
        "gateway_acknowledged", "Messages acknowledged.", each(told, lambda account: account.acknowledged)
    )
    yield counter(
        "gateway_subscriptions", "Subscriptions opened.", each(told, lambda account: account.subscriptions)
    )
    yield gauge(
        "gateway_paused",
        "1: nothing is received, because too much waits for Kafka.",
        each(told, lambda account: account.paused),
    )
    yield gauge(
        "gateway_unconfirmed_messages",
        "Messages received that Kafka has not confirmed.",
        each(told, lambda account: account.unconfirmed_messages),
    )
    yield gauge(
        "gateway_unconfirmed_bytes",
        "Size of the messages that Kafka has not confirmed.",
        each(told, lambda account: account.unconfirmed_bytes),
    )
    yield counter(
        "gateway_filtered",
        "Messages of a filtered protocol.",
        by("protocol", told, lambda account: account.filtered),
    )
    yield counter(
        "gateway_unlisted",
        "Messages about something else than upgrades.",
        each(told, lambda account: sum(account.unlisted.values())),
    )
    yield counter(
        "gateway_observations",
        "Messages that became observations, by kind.",
        by("kind", told, lambda account: account.observations),
    )
    yield counter(
        "gateway_dead_letters",
        "Messages that became dead letters, by reason.",
        by("reason", told, lambda account: account.dead_letters, words_of(DeadLetterReason)),
    )
    yield counter(
        "gateway_signatures",
        "Signatures, by the rule that matched.",
        by("rule", told, lambda account: account.signatures),
    )
    yield counter(
        "gateway_keys",
        "Signatures, by the access key that matched.",
        by("key", told, lambda account: account.keys),
    )


def _alerted_at_s(account: AccountStatistics) -> float | None:
    alert = account.backlog_alert
    return alert.sent_at_ms / 1000 if alert is not None and alert.own_subscription else None
