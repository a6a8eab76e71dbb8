"""When an account is stopped for good, and which settings no connection can be made from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from consumer import trust
from consumer.auth import basic_halves
from consumer.errors import AccountStopped, Misconfigured, NoAccountLeft
from consumer.ingest import Ingest
from consumer.probe import Outcome, ProbeResult
from consumer.refusals import PROBE_PERIOD_S, REFUSED_FOR_S, Refusals
from consumer.secret import Secret
from consumer.sink import OutgoingRecord
from tests.gateway_messages import ACCESS_KEY, account


class NoSink:
    async def write(self, records: Sequence[OutgoingRecord]) -> Sequence[int]:
        raise AssertionError(records)


def _result(outcome: Outcome) -> ProbeResult:
    return ProbeResult(outcome=outcome, what=f"told: {outcome}", remedy="mend it")


_REFUSED: tuple[Outcome, ...] = ("wrong_key", "missing_subscription", "forbidden_topic", "missing_topic")
_PASSING: tuple[Outcome, ...] = ("accepted", "tls_failure", "unreachable", "unavailable")


@pytest.mark.parametrize("outcome", _REFUSED)
def test_three_refusals_over_ten_seconds_stop_the_account(outcome: Outcome) -> None:
    refusals = Refusals("tuya-test")
    refusals.judge(_result(outcome), 100.0)
    refusals.judge(_result(outcome), 105.0)
    with pytest.raises(AccountStopped, match=f"told: {outcome}"):
        refusals.judge(_result(outcome), 110.0)


def test_three_refusals_in_a_shorter_time_do_not() -> None:
    refusals = Refusals("tuya-test")
    for now_s in (0.0, 1.0, 2.0, 3.0, 9.9):
        refusals.judge(_result("wrong_key"), now_s)


@pytest.mark.parametrize("outcome", _PASSING)
def test_anything_else_between_starts_the_count_anew(outcome: Outcome) -> None:
    refusals = Refusals("tuya-test")
    for now_s, told in (
        (0.0, "wrong_key"),
        (5.0, "wrong_key"),
        (9.0, outcome),
        (10.0, "wrong_key"),
        (15.0, "wrong_key"),
    ):
        refusals.judge(_result(told), now_s)  # type: ignore[arg-type]
    with pytest.raises(AccountStopped):
        refusals.judge(_result("wrong_key"), 20.0)


def test_a_connection_between_starts_the_count_anew() -> None:
    refusals = Refusals("tuya-test")
    refusals.judge(_result("wrong_key"), 0.0)
    refusals.judge(_result("wrong_key"), 5.0)
    refusals.clear()
    refusals.judge(_result("wrong_key"), 10.0)


def test_the_operator_is_told_within_fifteen_seconds() -> None:
    assert 2 * PROBE_PERIOD_S >= REFUSED_FOR_S
    assert REFUSED_FOR_S + PROBE_PERIOD_S <= 15.0


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        ({"url": "pulsar://gateway:7285"}, "speaks no TLS"),
        ({"url": "https://gateway:7285"}, "no gateway URL"),
        ({"url": "gateway:7285"}, "no gateway URL"),
        ({"url": "pulsar+ssl://gateway:port"}, "no gateway URL"),
    ],
)
def test_urls_that_cannot_be_used_stop_the_start(gateway: dict[str, Any], told: str) -> None:
    with pytest.raises(Misconfigured, match=rf"account tuya-test: .*{told}"):
        Ingest([account(**gateway)], NoSink())


def test_plain_text_is_possible_only_by_name() -> None:
    Ingest([account(url="pulsar://127.0.0.1:6650", tls_verify=False)], NoSink())


@pytest.mark.parametrize("access_id", ["", 'a"b', "a\\b", "a\nb", "a\x7fb"])
def test_access_ids_that_would_break_the_json_are_refused(access_id: str) -> None:
    with pytest.raises(Misconfigured, match="access_id"):
        basic_halves(access_id, Secret(ACCESS_KEY))


def test_the_configured_authority_is_the_only_one() -> None:
    assert trust.trust_file(account(ca_file="/given.pem").gateway) == "/given.pem"
    assert trust.trust_file(account().gateway)


def test_names_are_verified_unless_switched_off_by_name() -> None:
    assert trust.tls_context(account().gateway).check_hostname
    assert not trust.tls_context(account(tls_verify=False).gateway).check_hostname


def test_no_account_left_names_each() -> None:
    assert str(NoAccountLeft(["a", "b"])).endswith("refused: a, b")


async def test_without_accounts_the_stage_waits_to_be_stopped() -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(Ingest([], NoSink()).run(stop))
    await asyncio.sleep(0)
    assert not running.done()
    stop.set()
    await running
