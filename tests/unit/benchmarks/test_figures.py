"""Figures follow from the readings of the processes: what is divided by what, and what is not counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.benchmarks.gateway.gauge import Reading, Unfinished, evaluate, last_acknowledged
from tests.benchmarks.gateway.latency import latencies


def readings(*rows: tuple[float, int, int, float], peak_mb: float | None = 80.0) -> bytes:
    """At, received, acknowledged, CPU; the last is given again with the peak."""
    written = [
        Reading(at_s=at, received=received, acknowledged=acknowledged, cpu_s=cpu)
        for at, received, acknowledged, cpu in rows
    ]
    if peak_mb is not None:
        end = msgspec.structs.replace(written[-1], at_s=written[-1].at_s + 5, cpu_s=99.0, peak_mb=peak_mb)
        written.append(end)
    return b"".join(msgspec.json.encode(each) + b"\n" for each in written)


def observation(number: int, kind: str = "status") -> bytes:
    told: dict[str, Any] = {"kind": kind, "evidence": {"raw": {"bizData": {"description": str(number)}}}}
    return msgspec.json.encode(told)


def test_neither_the_start_nor_the_end_of_a_process_is_measured() -> None:
    drained = evaluate([readings((10.0, 1, 0, 0.5), (11.0, 60, 50, 0.75), (12.0, 100, 100, 1.0))], 100)

    assert drained.msgs_per_s == 50.0
    assert drained.cpu_us_per_msg == 5000.0
    assert drained.peak_mb == 80.0


def test_two_processes_count_from_the_first_to_begin_to_the_last_to_end() -> None:
    one = readings((10.0, 1, 0, 0.5), (13.0, 60, 60, 1.5), peak_mb=70.0)
    other = readings((11.0, 1, 0, 0.25), (14.0, 40, 40, 1.25), peak_mb=90.0)

    drained = evaluate([one, other], 100)

    assert drained.msgs_per_s == 25.0
    assert drained.cpu_us_per_msg == 20_000.0
    assert drained.peak_mb == 90.0


def test_a_process_that_got_nothing_costs_nothing() -> None:
    idle = readings((1.0, 0, 0, 0.5))

    assert evaluate([readings((10.0, 1, 0, 0.0), (12.0, 100, 100, 1.0)), idle], 100).msgs_per_s == 50.0


def test_a_backlog_that_is_not_drained_has_no_figure() -> None:
    with pytest.raises(Unfinished, match="99 of 100"):
        evaluate([readings((10.0, 1, 0, 0.5), (12.0, 100, 99, 1.0))], 100)


def test_a_process_that_did_not_tell_its_end_has_no_figure() -> None:
    with pytest.raises(Unfinished, match="its end"):
        evaluate([readings((10.0, 1, 0, 0.5), (12.0, 100, 100, 1.0), peak_mb=None)], 100)


def test_a_reading_that_is_being_written_is_not_read() -> None:
    complete = readings((10.0, 5, 3, 0.5), (11.0, 9, 7, 0.5), peak_mb=None)

    assert last_acknowledged(complete + b'{"at_s":12.0,"rec') == 7
    assert last_acknowledged(b'{"at') == 0


def test_a_latency_belongs_to_its_message_whatever_the_order_of_arrival() -> None:
    arrived = [(9_000_000, observation(1)), (12_000_000, observation(0)), (1, observation(0, kind="hint"))]

    assert latencies(arrived, [2_000_000, 4_000_000]) == [10.0, 5.0]


def test_a_message_that_came_twice_counts_from_its_first_arrival() -> None:
    assert latencies([(3_000_000, observation(0)), (9_000_000, observation(0))], [1_000_000]) == [2.0]


def test_a_message_that_never_arrived_is_no_fast_one() -> None:
    with pytest.raises(Unfinished, match="1 of 2"):
        latencies([(3_000_000, observation(0))], [1_000_000, 2_000_000])
