"""The fold of this process's partitions."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import Metric

from bridge.fold.statistics import FoldStatistics
from bridge.metrics.families import Samples, counter, gauge, parts


def fold_metrics(fold: FoldStatistics) -> Iterator[Metric]:
    """Yield how many devices, how far behind, and what happened."""

    def alone(value: float) -> Samples:
        return [({}, value)]

    yield gauge("fold_devices", "Devices in the partitions folded here.", alone(fold.devices))
    yield gauge(
        "fold_partitions",
        "Partitions of this process.",
        [
            ({"state": "folding"}, len(fold.partitions_folding)),
            ({"state": "taking_over"}, len(fold.partitions_taking_over)),
        ],
    )
    yield gauge("fold_partitions_behind", "Of those folding: work off a backlog.", alone(len(fold.behind)))
    yield gauge("fold_partitions_in_gap", "Of those folding: a gap goes on.", alone(len(fold.in_gap)))
    yield gauge(
        "fold_in_trouble", "1: not everything is folded; /status says why.", alone(fold.problem is not None)
    )
    yield gauge("fold_queued_observations", "Observations read and not folded yet.", alone(fold.queued))
    yield gauge("fold_lookups_waiting", "Lookups wanted, before their turn.", alone(fold.lookups_waiting))
    yield counter(
        "fold_happened",
        "What happened, by the names of the page's counts.",
        parts({}, "what", fold.counts, known=("offsets_missing", "dead_letters")),
    )
