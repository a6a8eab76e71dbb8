"""A cloud that is down, unauthorised or out of quota for an hour, beside one that is well, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bridge.clouds.errors import Unanswered
from bridge.clouds.wire import Request
from bridge.metrics.apis import api_metrics
from bridge.reconcile.statistics import ReconcileStatistics
from tests.tuya_model import TuyaModel, failure
from tests.unit.reconcile.test_account import Desk, idle, serving
from tests.virtual_time import in_virtual_time

HOUR_S = 3600
EVERY_S = 5


def _unreachable(request: Request) -> dict[str, Any] | None:
    raise Unanswered("connection refused", api=request.api)


def _sick(model: TuyaModel, answer: Callable[[Request], dict[str, Any] | None]) -> Callable[[], None]:
    model.always = answer
    return lambda: setattr(model, "always", lambda _request: None)


def _with_another_key(model: TuyaModel) -> Callable[[], None]:
    right, model.access_key = model.access_key, "another"
    return lambda: setattr(model, "access_key", right)


TROUBLES: dict[str, tuple[Callable[[TuyaModel], Callable[[], None]], str, str, int]] = {
    "down": (lambda model: _sick(model, _unreachable), "retry", "open", 1500),
    "failing": (lambda model: _sick(model, lambda _request: failure(500)), "retry", "open", 1500),
    "out of quota": (lambda model: _sick(model, lambda _request: failure(28841004)), "quota", "open", 50),
    "not permitted": (
        lambda model: _sick(model, lambda _request: failure(28841002)),
        "forbidden",
        "open",
        50,
    ),
    "unauthorised": (_with_another_key, "auth_fatal", "stopped", 50),
}
"""What makes it so (and returns what ends it), what is told of it, and the most requests it gets in that hour."""


async def _asked_for_an_hour(*desks: Desk) -> None:
    for number in range(HOUR_S // EVERY_S):
        for desk in desks:
            desk.ask(f"dev{number % 7}", lookup_id=f"{number}")
        await asyncio.sleep(EVERY_S)


def _latencies_ms(desk: Desk) -> list[int]:
    answers = sorted(desk.sink.answers.items(), key=lambda one: int(one[0]))
    return [
        answer.observed_at_ms - answers[0][1].observed_at_ms - EVERY_S * 1000 * number
        for number, (_, answer) in enumerate(answers)
    ]


def _devices() -> dict[str, Any]:
    return idle(*(f"dev{number}" for number in range(7)))


def _told_by_metrics(desk: Desk) -> set[str]:
    stage = ReconcileStatistics(
        connected=True,
        problem=None,
        partitions=(0,),
        proven_s_ago=0.0,
        lookups_read=0,
        malformed=0,
        unknown_account=0,
        accounts=(desk.lookups.statistics(),),
    )
    samples = [sample for family in api_metrics(stage) for sample in family.samples]
    return {sample.labels["error"] for sample in samples if sample.name == "ota_bridge_api_refused"}


@pytest.mark.parametrize("trouble", TROUBLES)
@in_virtual_time
async def test_one_account_in_trouble_leaves_the_others_alone_and_recovers_by_itself(trouble: str) -> None:
    begin, told, state, most_requests = TROUBLES[trouble]
    async with serving() as alone:
        alone.model.firmware |= _devices()
        for _ in range(2):
            await _asked_for_an_hour(alone)
    async with serving() as well, serving() as sick:
        for desk in (well, sick):
            desk.model.firmware |= _devices()
        end = begin(sick.model)
        await _asked_for_an_hour(well, sick)

        statistics = sick.lookups.statistics()
        assert statistics.circuit in (state, "half_open")
        assert statistics.cause is not None
        assert (statistics.cause.error, bool(statistics.cause.remedy)) == (told, True)
        assert _told_by_metrics(sick) == {told}
        assert sum(sick.model.asked.values()) <= most_requests

        end()
        await _asked_for_an_hour(well, sick)
        assert sick.lookups.statistics().circuit == "closed"
        assert sick.lookups.statistics().cause is None
        assert _told_by_metrics(sick) == set()
        latest = max(sick.sink.answers, key=int)
        assert sick.sink.answers[latest].outcome == "ok"

    assert {answer.outcome for answer in well.sink.answers.values()} == {"ok"}
    # The virtual clock takes a microsecond a turn; a millisecond may be rounded the other way by it.
    assert all(
        abs(beside - before) <= 1
        for beside, before in zip(_latencies_ms(well), _latencies_ms(alone), strict=True)
    )
