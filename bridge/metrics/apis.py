"""Reconciliation: each account's firmware API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import Metric

from bridge.clouds.errors import ErrorClass
from bridge.metrics.families import by, counter, each, gauge
from bridge.reconcile.circuit import CircuitState
from bridge.reconcile.statistics import AccountStatistics, ReconcileStatistics
from schemas.vocabulary import LookupOutcome, words_of


def api_metrics(reconcile: ReconcileStatistics) -> Iterator[Metric]:
    """How an account's API side fares is told by its owner alone: another process knows nothing of it."""
    accounts = reconcile.accounts
    owned = [account for account in accounts if account.owned]

    told = [(_api(account), account) for account in accounts]
    of_owner = [(labels, account) for labels, account in told if account.owned]
    yield gauge(
        "reconcile_in_trouble",
        "1: no lookups are read, or what was read is not committed; /status says why.",
        [({}, reconcile.problem is not None)],
    )
    yield counter(
        "reconcile_malformed",
        "Records of the lookups topic that cannot be read.",
        [({}, reconcile.malformed)],
    )
    yield counter(
        "reconcile_unknown_account",
        "Lookups for an account that this configuration does not have.",
        [({}, reconcile.unknown_account)],
    )
    yield gauge(
        "api_owned",
        "Whether this process speaks for the account.",
        [(_api(one), one.owned) for one in accounts],
    )
    yield gauge(
        "api_circuit",
        "1 for the state that an account's circuit is in; it is asked freely where that is closed.",
        [
            (_api(account) | {"state": state}, account.circuit == state)
            for account in owned
            for state in get_args(CircuitState)
        ],
    )
    yield gauge(
        "api_refused",
        "1 while the circuit is not closed, by the class of what the cloud said; /status has its words and the remedy.",
        [
            (_api(account) | {"error": account.cause.error, "api": account.cause.api}, 1)
            for account in owned
            if account.cause is not None
        ],
    )
    yield gauge(
        "api_tried_again_in_seconds",
        "Until an account whose circuit is open is asked again.",
        each(of_owner, lambda account: account.opens_again_in_s),
    )
    yield gauge(
        "api_clock_offset_seconds",
        "The cloud's clock against ours.",
        each(of_owner, lambda account: account.clock_offset_ms / 1000),
    )
    yield counter("api_requests", "Requests sent.", [(_api(one), one.pace.requests) for one in accounts])
    yield counter(
        "api_throttled",
        "Requests refused as too many.",
        [(_api(one), one.pace.throttled) for one in accounts],
    )
    yield gauge(
        "api_paused_seconds",
        "What is left of a pause that the cloud wanted.",
        each(of_owner, lambda account: account.pace.paused_for_s),
    )
    yield counter(
        "api_lookups",
        "Lookups served, by outcome.",
        by("outcome", told, lambda account: account.answers, words_of(LookupOutcome)),
    )
    yield counter(
        "api_lookup_errors",
        "Lookups that failed, by class.",
        by("error", told, lambda account: account.errors, get_args(ErrorClass)),
    )
    yield gauge(
        "api_lookups_waiting",
        "Devices that wait for their lookups' turn, by cause.",
        by("cause", told, lambda account: account.queue.by_cause),
    )
    yield counter(
        "api_lookups_dropped",
        "Lookups that found no place or waited too long.",
        [(_api(one), one.queue.expired + one.queue.displaced) for one in accounts],
    )
    yield counter(
        "api_package_failures",
        "Questions about firmware packages that failed.",
        [(_api(one), one.packages.failures) for one in accounts],
    )
    yield gauge(
        "api_swept_timestamp_seconds",
        "When a sweep last came to its end, Unix time.",
        each(of_owner, lambda account: _seconds(account.sweep.finished_at_ms if account.sweep else None)),
    )
    yield gauge(
        "api_listed_timestamp_seconds",
        "When the devices were last listed to the end, Unix time.",
        each(of_owner, lambda account: _seconds(account.discovery.finished_at_ms)),
    )


def _api(account: AccountStatistics) -> dict[str, str]:
    return {"account": account.account, "cloud": account.cloud}


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000
