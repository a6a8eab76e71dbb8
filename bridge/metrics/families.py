"""Families of Prometheus' text format, made of values by their labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX: Final = "ota_bridge_"

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float | None]]
"""Values by labels; what is None is not known now, and left out."""


def gauge(name: str, text: str, samples: Samples) -> Metric:
    """Return what may rise and fall."""
    return _filled(GaugeMetricFamily(PREFIX + name, text), samples)


def counter(name: str, text: str, samples: Samples) -> Metric:
    """Return what only rises; its name gets `_total`."""
    return _filled(CounterMetricFamily(PREFIX + name, text), samples, suffix="_total")


def parts(labels: Labels, label: str, counts: Mapping[str, int], *, known: Iterable[str] = ()) -> Samples:
    """Return the counts of a whole by a further label. What is `known` to happen is there before it did, as zero.

    Or nobody would see it rise when it happens first.
    """
    return [
        (dict(labels) | {label: part}, count)
        for part, count in (dict.fromkeys(known, 0) | dict(counts)).items()
    ]


def _filled(metric: Metric, samples: Samples, *, suffix: Literal["", "_total"] = "") -> Metric:
    for labels, value in samples:
        if value is not None:
            metric.add_sample(metric.name + suffix, dict(labels), float(value))
    return metric
