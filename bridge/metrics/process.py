"""The process, its stages, and the writer that they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from prometheus_client.core import Metric

from bridge.kafka.writer import WriterStatistics
from bridge.metrics.families import counter, gauge
from bridge.status import Status
from bridge.supervisor import State as StageState


def process_metrics(status: Status, loop_lag_s: float) -> Iterator[Metric]:
    """Yield which version runs since when, and how its stages and Kafka fare."""
    yield gauge("build_info", "The version that runs, as a label.", [({"version": status.version}, 1)])
    yield gauge(
        "start_timestamp_seconds", "When the process began, Unix time.", [({}, status.started_at_ms / 1000)]
    )
    yield gauge(
        "loop_lag_seconds", "The longest that anything had to wait for its turn lately.", [({}, loop_lag_s)]
    )
    yield gauge("kafka_up", "Whether Kafka answers.", [({}, status.kafka.state == "ready")])
    yield gauge(
        "protections_off", "Protections that the configuration switches off.", [({}, len(status.warnings))]
    )
    yield gauge(
        "stage_state",
        "1 for the state that a stage is in.",
        [
            ({"stage": name, "state": state}, stage.state == state)
            for name, stage in status.stages.items()
            for state in get_args(StageState)
        ],
    )
    yield counter(
        "stage_restarts",
        "How often a stage died and was built anew.",
        [({"stage": name}, stage.restarts) for name, stage in status.stages.items()],
    )


def writer_metrics(writer: WriterStatistics) -> Iterator[Metric]:
    """Yield what waits for Kafka, and what it took."""
    yield gauge("writer_connected", "Whether Kafka confirms what is written.", [({}, writer.connected)])
    yield gauge(
        "writer_queued_records", "Records accepted and not confirmed by Kafka.", [({}, writer.queued_records)]
    )
    yield gauge(
        "writer_queued_bytes", "Size of the records accepted and not confirmed.", [({}, writer.queued_bytes)]
    )
    yield counter("writer_confirmed", "Records that Kafka confirmed.", [({}, writer.confirmed)])
    yield counter("writer_refused", "Records refused for good as too large.", [({}, writer.refused)])
    yield counter(
        "writer_producers", "Producers made: one, and one after each failure.", [({}, writer.producers)]
    )
