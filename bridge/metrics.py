"""`/metrics`: what `/status` tells, for Prometheus; made of the same records when it is asked for.

Every name is here. They have one prefix and base units, and end in `_total` where they only rise. A label has few
values, all known beforehand: accounts by their alias, words of our own; never a device, never what a stranger wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from bridge.fold.statistics import FoldStatistics
from bridge.kafka.writer import WriterStatistics
from bridge.reconcile.circuit import CircuitState
from bridge.reconcile.statistics import AccountStatistics as ApiStatistics
from bridge.reconcile.statistics import ReconcileStatistics
from bridge.status import Status
from bridge.supervisor import State as StageState
from consumer.statistics import AccountState, IngestStatistics
from consumer.statistics import AccountStatistics as GatewayStatistics

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
PREFIX: Final = "ota_bridge_"

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float | None]]
"""Values by labels; what is None is not known now, and left out."""


class StatusCollector(Collector):
    """Reads the status each time it is collected."""

    def __init__(self, status: Callable[[], Status], loop_lag_s: Callable[[], float]) -> None:
        self._status = status
        self._loop_lag_s = loop_lag_s

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the stages that run here."""
        status = self._status()
        yield from _process(status, self._loop_lag_s())
        for stage in status.stages.values():
            match stage.statistics:
                case IngestStatistics() as ingest:
                    yield from _gateways(ingest.accounts)
                case FoldStatistics() as fold:
                    yield from _fold(fold)
                case ReconcileStatistics() as reconcile:
                    yield from _apis(reconcile)
        for shared in status.shared.values():
            if isinstance(shared, WriterStatistics):
                yield from _writer(shared)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self)


def _process(status: Status, loop_lag_s: float) -> Iterator[Metric]:
    yield _gauge("build_info", "The version that runs, as a label.", [({"version": status.version}, 1)])
    yield _gauge(
        "start_time_seconds", "When the process began, Unix time.", [({}, status.started_at_ms / 1000)]
    )
    yield _gauge(
        "loop_lag_seconds", "The longest that anything had to wait for its turn lately.", [({}, loop_lag_s)]
    )
    yield _gauge("kafka_up", "Whether Kafka answers.", [({}, status.kafka.state == "ready")])
    yield _gauge(
        "protections_off", "Protections that the configuration switches off.", [({}, len(status.warnings))]
    )
    yield _gauge(
        "stage_state",
        "1 for the state that a stage is in.",
        [
            ({"stage": name, "state": state}, stage.state == state)
            for name, stage in status.stages.items()
            for state in get_args(StageState)
        ],
    )
    yield _counter(
        "stage_restarts",
        "How often a stage died and was built anew.",
        [({"stage": name}, stage.restarts) for name, stage in status.stages.items()],
    )


def _gateways(accounts: Mapping[str, GatewayStatistics]) -> Iterator[Metric]:
    """The headline is `gateway_alive_age_seconds`, against the two hours that the gateway keeps a message."""

    def each(value: Callable[[GatewayStatistics], float | None]) -> Samples:
        return [({"account": name}, value(account)) for name, account in accounts.items()]

    def parts(label: str, values: Callable[[GatewayStatistics], Mapping[str, int]]) -> Samples:
        return [
            ({"account": name, label: part}, count)
            for name, account in accounts.items()
            for part, count in values(account).items()
        ]

    yield _gauge(
        "gateway_state",
        "1 for the state that an account's gateway is in.",
        [
            ({"account": name, "state": state}, account.state == state)
            for name, account in accounts.items()
            for state in get_args(AccountState)
        ],
    )
    yield _gauge(
        "gateway_alive_age_seconds",
        "Since when nothing more is known of the source partition furthest behind; above two hours messages are lost.",
        each(lambda account: account.alive_age_s),
    )
    yield _gauge(
        "gateway_oldest_unacknowledged_age_seconds",
        "Age of the oldest message that was received and is not acknowledged.",
        each(lambda account: account.oldest_unacknowledged_age_s),
    )
    yield _counter(
        "gateway_gaps", "Times at which messages may have been lost.", each(lambda account: account.gaps)
    )
    yield _counter("gateway_received", "Messages received.", each(lambda account: account.received))
    yield _counter(
        "gateway_redelivered", "Messages that had come before.", each(lambda account: account.redelivered)
    )
    yield _counter(
        "gateway_acknowledged", "Messages acknowledged.", each(lambda account: account.acknowledged)
    )
    yield _counter(
        "gateway_subscriptions", "Subscriptions opened.", each(lambda account: account.subscriptions)
    )
    yield _gauge("gateway_paused", "1: too much waits for Kafka.", each(lambda account: account.paused))
    yield _gauge(
        "gateway_unconfirmed_messages",
        "Waiting for Kafka.",
        each(lambda account: account.unconfirmed_messages),
    )
    yield _gauge(
        "gateway_unconfirmed_bytes", "Waiting for Kafka.", each(lambda account: account.unconfirmed_bytes)
    )
    yield _counter(
        "gateway_filtered",
        "Messages of a filtered protocol.",
        parts("protocol", lambda account: account.filtered),
    )
    yield _counter(
        "gateway_unlisted",
        "Messages about something else than upgrades.",
        each(lambda account: sum(account.unlisted.values())),
    )
    yield _counter("gateway_observations", "By kind.", parts("kind", lambda account: account.observations))
    yield _counter(
        "gateway_dead_letters", "By reason.", parts("reason", lambda account: account.dead_letters)
    )
    yield _counter(
        "gateway_signatures", "By the rule that matched.", parts("rule", lambda account: account.signatures)
    )
    yield _counter(
        "gateway_keys", "By the access key that matched.", parts("key", lambda account: account.keys)
    )


def _fold(fold: FoldStatistics) -> Iterator[Metric]:
    def alone(value: float) -> Samples:
        return [({}, value)]

    yield _gauge("fold_devices", "Devices in the partitions folded here.", alone(fold.devices))
    yield _gauge(
        "fold_partitions",
        "Partitions of this process.",
        [
            ({"state": "folding"}, len(fold.partitions_folding)),
            ({"state": "taking_over"}, len(fold.partitions_taking_over)),
            ({"state": "behind"}, len(fold.behind)),
            ({"state": "in_gap"}, len(fold.in_gap)),
        ],
    )
    yield _gauge(
        "fold_in_trouble", "1: not everything is folded; /status says why.", alone(fold.problem is not None)
    )
    yield _gauge("fold_queued_observations", "Observations read and not folded yet.", alone(fold.queued))
    yield _gauge("fold_lookups_waiting", "Lookups wanted, before their turn.", alone(fold.lookups_waiting))
    yield _counter(
        "fold_happened",
        "What happened, by name.",
        [({"what": name}, count) for name, count in fold.counts.items()],
    )


def _apis(reconcile: ReconcileStatistics) -> Iterator[Metric]:
    """How an account's API side fares is told by its owner alone: another process knows nothing of it."""
    accounts = reconcile.accounts
    owned = [account for account in accounts if account.owned]

    def each(value: Callable[[ApiStatistics], float | None]) -> Samples:
        return [(_api(account), value(account)) for account in owned]

    def parts(label: str, values: Callable[[ApiStatistics], Mapping[str, int]]) -> Samples:
        return [
            (_api(account) | {label: part}, count)
            for account in accounts
            for part, count in values(account).items()
        ]

    yield _gauge(
        "reconcile_in_trouble",
        "1: no lookups are read, or what was read is not committed; /status says why.",
        [({}, reconcile.problem is not None)],
    )
    yield _gauge(
        "api_owned",
        "Whether this process speaks for the account.",
        [(_api(one), one.owned) for one in accounts],
    )
    yield _gauge(
        "api_circuit",
        "1 for the state that an account's circuit is in; anything but closed means that it is not asked.",
        [
            (_api(account) | {"state": state}, account.circuit == state)
            for account in owned
            for state in get_args(CircuitState)
        ],
    )
    yield _gauge(
        "api_refused",
        "1 while the circuit is not closed, by the class of what the cloud said; /status has its words and the remedy.",
        [
            (_api(account) | {"error": account.cause.error, "api": account.cause.api}, 1)
            for account in owned
            if account.cause is not None
        ],
    )
    yield _gauge("api_tried_again_in_seconds", "Until it is.", each(lambda account: account.opens_again_in_s))
    yield _gauge(
        "api_clock_offset_seconds",
        "The cloud's clock against ours.",
        each(lambda account: account.clock_offset_ms / 1000),
    )
    yield _counter("api_requests", "Requests sent.", [(_api(one), one.pace.requests) for one in accounts])
    yield _counter(
        "api_throttled",
        "Requests refused as too many.",
        [(_api(one), one.pace.throttled) for one in accounts],
    )
    yield _gauge(
        "api_paused_seconds", "The pause that is left.", each(lambda account: account.pace.paused_for_s)
    )
    yield _counter(
        "api_lookups", "Lookups served, by outcome.", parts("outcome", lambda account: account.answers)
    )
    yield _counter(
        "api_lookup_errors", "Lookups that failed, by class.", parts("error", lambda account: account.errors)
    )
    yield _gauge("api_lookups_waiting", "By cause.", parts("cause", lambda account: account.queue.by_cause))
    yield _counter(
        "api_lookups_dropped",
        "Lookups that found no place or waited too long.",
        [(_api(one), one.queue.expired + one.queue.displaced) for one in accounts],
    )
    yield _gauge(
        "api_swept_time_seconds",
        "When a sweep last came to its end, Unix time.",
        each(lambda account: _seconds(account.sweep.finished_at_ms if account.sweep else None)),
    )
    yield _gauge(
        "api_listed_time_seconds",
        "When the devices were last listed to the end, Unix time.",
        each(lambda account: _seconds(account.discovery.finished_at_ms)),
    )


def _writer(writer: WriterStatistics) -> Iterator[Metric]:
    yield _gauge("writer_connected", "Whether Kafka confirms what is written.", [({}, writer.connected)])
    yield _gauge("writer_queued_records", "Records not confirmed.", [({}, writer.queued_records)])
    yield _gauge("writer_queued_bytes", "Records not confirmed.", [({}, writer.queued_bytes)])
    yield _counter("writer_confirmed", "Records confirmed.", [({}, writer.confirmed)])
    yield _counter("writer_refused", "Records refused for good as too large.", [({}, writer.refused)])
    yield _counter(
        "writer_producers", "Producers made: one, and one after each failure.", [({}, writer.producers)]
    )


def _api(account: ApiStatistics) -> dict[str, str]:
    return {"account": account.account, "cloud": account.cloud}


def _seconds(at_ms: int | None) -> float | None:
    return None if at_ms is None else at_ms / 1000


def _gauge(name: str, text: str, samples: Samples) -> Metric:
    return _filled(GaugeMetricFamily(PREFIX + name, text), samples)


def _counter(name: str, text: str, samples: Samples) -> Metric:
    return _filled(CounterMetricFamily(PREFIX + name, text), samples, suffix="_total")


def _filled(metric: Metric, samples: Samples, *, suffix: Literal["", "_total"] = "") -> Metric:
    for labels, value in samples:
        if value is not None:
            metric.add_sample(metric.name + suffix, dict(labels), float(value))
    return metric
