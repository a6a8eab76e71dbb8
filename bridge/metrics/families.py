"""Families of Prometheus' text format, made of values by their labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

PREFIX: Final = "ota_bridge_"

Labels = Mapping[str, str]
Samples = Iterable[tuple[Labels, float | None]]
"""Values by labels; what is None is not known now, and left out."""
T = TypeVar("T")
Told = Sequence[tuple[Labels, T]]
"""What is told of each account, with the account's labels."""


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


def each(told: Told[T], value: Callable[[T], float | None]) -> Samples:
    """Return one value of each account."""
    return [(labels, value(account)) for labels, account in told]


def by(
    label: str, told: Told[T], counts: Callable[[T], Mapping[str, int]], known: Iterable[str] = ()
) -> Samples:
    """Return the counts of each account by a further label."""
    return [
        sample for labels, account in told for sample in parts(labels, label, counts(account), known=known)
    ]


def _filled(metric: Metric, samples: Samples, *, suffix: Literal["", "_total"] = "") -> Metric:
    for labels, value in samples:
        if value is not None:
            metric.add_sample(metric.name + suffix, dict(labels), float(value))
    return metric
