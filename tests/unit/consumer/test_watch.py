"""The watch over a connection: when the gateway is asked why, what the operator reads, when it is subscribed anew."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from consumer.errors import AccountStopped
from consumer.probe import Outcome, ProbeResult
from consumer.settings import GatewayAccount
from consumer.watch import ConnectionWatch
from tests.gateway_messages import account
from tests.virtual_time import in_virtual_time


class Line:
    """A connection and its gateway, as the test wants them."""

    def __init__(self, outcome: Outcome = "unreachable") -> None:
        self.outcome = outcome
        self.connected = False
        self.stepped_aside = False
        self.renewals = 0
        self.asked_at_s: list[float] = []
        self.watch = ConnectionWatch(account(), ask=self._ask)

    def is_connected(self) -> bool:
        return self.connected

    def has_stepped_aside(self) -> bool:
        return self.stepped_aside

    def resubscribe(self) -> None:
        self.renewals += 1

    async def _ask(self, _account: GatewayAccount) -> ProbeResult:
        self.asked_at_s.append(asyncio.get_running_loop().time())
        return ProbeResult(outcome=self.outcome, what=f"told: {self.outcome}", remedy="mend it")

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.watch.run(self))


async def _end(watching: asyncio.Task[None]) -> None:
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@in_virtual_time
async def test_a_connected_account_runs_and_nobody_is_asked() -> None:
    line = Line()
    line.connected = True
    watching = line.start()
    await asyncio.sleep(3600)
    assert (line.watch.state, line.watch.message, line.asked_at_s) == ("running", None, [])
    await _end(watching)


@in_virtual_time
async def test_a_short_break_asks_nobody_a_long_one_is_explained() -> None:
    line = Line()
    line.connected = True
    watching = line.start()
    await asyncio.sleep(10)
    line.connected = False
    await asyncio.sleep(1)
    line.connected = True
    await asyncio.sleep(10)
    assert line.asked_at_s == []

    line.connected = False
    await asyncio.sleep(60)
    assert (line.watch.state, line.watch.message) == ("connecting", "told: unreachable: mend it")
    assert all(
        later - earlier >= 5.0 for earlier, later in zip(line.asked_at_s, line.asked_at_s[1:], strict=False)
    )

    line.connected = True
    await asyncio.sleep(1)
    assert (line.watch.state, line.watch.message) == ("running", None)
    await _end(watching)


@in_virtual_time
async def test_a_refusing_gateway_stops_the_account_within_fifteen_seconds() -> None:
    line = Line("wrong_key")
    began_s = asyncio.get_running_loop().time()
    with structlog.testing.capture_logs() as logs, pytest.raises(AccountStopped, match="told: wrong_key"):
        await line.start()
    # The stop tells what is wrong and the remedy; the warning before it does not say the same.
    (warned,) = logs
    assert warned["outcome"] == "wrong_key"
    assert "told: wrong_key" not in str(warned)
    assert line.watch.message == "told: wrong_key: mend it"
    assert 10.0 <= asyncio.get_running_loop().time() - began_s <= 15.0


@in_virtual_time
async def test_what_may_pass_by_itself_is_waited_for_without_end() -> None:
    line = Line("tls_failure")
    watching = line.start()
    await asyncio.sleep(86_400)
    assert not watching.done()
    assert line.renewals == 0
    await _end(watching)


@in_virtual_time
async def test_each_reason_is_told_once_until_the_account_was_connected() -> None:
    line = Line("unreachable")
    with structlog.testing.capture_logs() as logs:
        watching = line.start()
        for outcome in ("unreachable", "tls_failure", "unreachable", "tls_failure"):
            line.outcome = outcome
            await asyncio.sleep(20)
        line.connected = True
        await asyncio.sleep(1)
        line.connected = False
        await asyncio.sleep(20)
    await _end(watching)

    warned = [entry for entry in logs if entry["log_level"] == "warning"]
    assert [entry["outcome"] for entry in warned] == ["unreachable", "tls_failure", "tls_failure"]
    assert {(entry["account"], entry["remedy"]) for entry in warned} == {("tuya-test", "mend it")}
    assert "mend it" not in warned[0]["reason"]


@in_virtual_time
async def test_a_gateway_that_accepts_us_while_the_client_still_waits_is_subscribed_to_anew() -> None:
    line = Line("unreachable")
    watching = line.start()
    await asyncio.sleep(20)
    assert line.renewals == 0
    line.outcome = "accepted"
    await asyncio.sleep(12)
    assert line.renewals == 1
    await _end(watching)


@pytest.mark.parametrize(
    ("was_connected", "says"), [(True, "was lost and comes back"), (False, "comes by itself")]
)
@in_virtual_time
async def test_a_connection_that_the_gateway_accepts_is_back_in_a_moment_and_no_warning_unless_it_stays_away(
    says: str, *, was_connected: bool
) -> None:
    line = Line("accepted")
    line.connected = was_connected
    with structlog.testing.capture_logs() as logs:
        watching = line.start()
        await asyncio.sleep(10)
        line.connected = False
        await asyncio.sleep(60)
        assert says in (line.watch.message or "")
        (told,) = (entry for entry in logs if entry["event"] == "gateway_disconnected")
        assert (told["log_level"], "remedy" in told) == ("info", False)
        assert says in told["reason"]

        await asyncio.sleep(600)
        await _end(watching)
    *_, stays = logs
    assert (stays["event"], stays["log_level"]) == ("gateway_disconnected", "warning")
    assert "start the bridge again" in stays["remedy"]


@in_virtual_time
async def test_a_reason_that_stays_is_told_again_every_ten_minutes() -> None:
    line = Line()
    with structlog.testing.capture_logs() as logs:
        watching = line.start()
        await asyncio.sleep(1500)
        await _end(watching)
    assert [entry["reason"] for entry in logs] == ["told: unreachable"] * 3
