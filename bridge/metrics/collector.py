"""All metrics of a process, read from its status."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from bridge.fold.statistics import FoldStatistics
from bridge.kafka.writer import WriterStatistics
from bridge.metrics.apis import api_metrics
from bridge.metrics.fold import fold_metrics
from bridge.metrics.gateways import gateway_metrics
from bridge.metrics.process import process_metrics, writer_metrics
from bridge.reconcile.statistics import ReconcileStatistics
from bridge.status import Status
from consumer.statistics import IngestStatistics

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST


class StatusCollector(Collector):
    """Reads the status each time it is collected."""

    def __init__(self, status: Callable[[], Status], loop_lag_s: Callable[[], float]) -> None:
        self._status = status
        self._loop_lag_s = loop_lag_s

    def collect(self) -> Iterator[Metric]:
        """Yield every metric of the stages that run here."""
        status = self._status()
        yield from process_metrics(status, self._loop_lag_s())
        for stage in status.stages.values():
            match stage.statistics:
                case IngestStatistics() as ingest:
                    yield from gateway_metrics(ingest.accounts)
                case FoldStatistics() as fold:
                    yield from fold_metrics(fold)
                case ReconcileStatistics() as reconcile:
                    yield from api_metrics(reconcile)
        for shared in status.shared.values():
            if isinstance(shared, WriterStatistics):
                yield from writer_metrics(shared)

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        return generate_latest(self)
