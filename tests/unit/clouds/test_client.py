"""What every cloud's client does with a dialect: one token, a signature at sending, the clock, mending, repeats."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.client import ApiClient, Ask, Call, Opened
from bridge.clouds.clock import VendorClock, VendorTime, date_of
from bridge.clouds.shape import Means
from bridge.clouds.tokens import Token
from bridge.clouds.wire import Answer, Request
from tests.virtual_time import in_virtual_time, now_ms

GET = Call(api="get", path="/thing", query={"a": "1"})


class Dialect:
    """Signs with the time and counts; an answer is what the test put there."""

    def __init__(self, clock: VendorClock) -> None:
        self._clock = clock
        self.signed: list[tuple[str, str | None, int]] = []
        self.answers: deque[Opened | errors.CloudError] = deque()

    def sign(self, call: Call, token: Token | None) -> Request:
        self.signed.append((call.api, None if token is None else token.value, self._clock.signing_ms()))
        return Request(api=call.api, method=call.method, target=call.path)

    def open(self, _answer: Answer, _call: Call) -> Opened:
        given = self.answers.popleft() if self.answers else Opened(result="fine")
        if isinstance(given, errors.CloudError):
            raise given
        return given


class Wire:
    def __init__(self) -> None:
        self.turns = 0
        self.latency_s = 0.1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.turns += 1
        yield

    async def send(self, _request: Request) -> Answer:
        await asyncio.sleep(self.latency_s)
        return Answer(status=200, headers={}, body=b"")


class Desk:
    def __init__(self, *, tokens: bool = False) -> None:
        self.clock = VendorClock(now_ms)
        self.dialect = Dialect(self.clock)
        self.wire = Wire()
        self.logins = 0
        means = Means(transport=self.wire, pace=self.wire, now_ms=now_ms, jitter=lambda: 1.0)
        self.client = ApiClient(
            "test", self.dialect, means, self.clock, login=self._login if tokens else None
        )

    async def _login(self, ask: Ask) -> Token:
        self.logins += 1
        await ask(Call(api="login", needs_token=False))
        return Token(f"token{self.logins}", now_ms() + 1_000_000, now_ms() + 1_100_000)

    def will(self, *answers: Any) -> None:
        self.dialect.answers.extend(answers)


def refused(kind: type[errors.CloudError], **time: Any) -> Opened:
    return Opened(error=kind("no", api="get"), **time)


@in_virtual_time
async def test_a_cloud_without_tokens_signs_without_one() -> None:
    desk = Desk()

    reply = await desk.client.ask(GET)

    assert reply.result == "fine"
    assert [(api, token) for api, token, _ in desk.dialect.signed] == [("get", None)]


@in_virtual_time
async def test_one_login_serves_all_who_ask_at_once() -> None:
    desk = Desk(tokens=True)

    await asyncio.gather(*(desk.client.ask(GET) for _ in range(20)))

    assert desk.logins == 1
    assert desk.wire.turns == 21
    assert {token for api, token, _ in desk.dialect.signed if api == "get"} == {"token1"}


@in_virtual_time
async def test_a_refused_token_is_replaced_once_and_the_request_sent_once_more() -> None:
    desk = Desk(tokens=True)
    desk.will(Opened(), refused(errors.TokenRejected))
    assert (await desk.client.ask(GET)).result == "fine"
    assert [token for api, token, _ in desk.dialect.signed if api == "get"] == ["token1", "token2"]

    desk.will(refused(errors.TokenRejected), Opened(), refused(errors.TokenRejected))
    with pytest.raises(errors.TokenRejected):
        await desk.client.ask(GET)
    assert desk.logins == 3


@in_virtual_time
async def test_a_repeated_request_is_signed_anew() -> None:
    desk = Desk()
    desk.will(refused(errors.Unanswered), errors.Unanswered("no JSON", api="get"))

    await desk.client.ask(GET)

    times = [at_ms for _, _, at_ms in desk.dialect.signed]
    assert len(times) == len(set(times)) == 3


@in_virtual_time
async def test_what_changes_something_is_never_sent_again_on_a_doubt() -> None:
    desk = Desk()
    desk.will(refused(errors.Unanswered))

    with pytest.raises(errors.Unanswered):
        await desk.client.act(Call(api="start", method="POST", path="/start"))

    assert len(desk.dialect.signed) == 1


@in_virtual_time
async def test_a_refused_time_is_mended_by_the_answers_own() -> None:
    desk = Desk()
    ahead_ms = 4_000_000
    desk.will(refused(errors.ClockSkewed, time=VendorTime(at_ms=now_ms() + ahead_ms)))

    reply = await desk.client.ask(GET)

    first, second = (at_ms for _, _, at_ms in desk.dialect.signed)
    assert second - first > ahead_ms - 1000
    assert abs(reply.asked_at_ms - now_ms() - ahead_ms) < 1000


@in_virtual_time
async def test_an_error_says_when_the_request_was_sent_in_the_vendors_clock() -> None:
    desk = Desk()
    desk.will(refused(errors.DeviceNotFound, time=VendorTime(at_ms=now_ms() + 5000)))
    begin_ms = now_ms()

    with pytest.raises(errors.DeviceNotFound) as caught:
        await desk.client.ask(GET)

    assert caught.value.asked_at_ms is not None
    assert abs(caught.value.asked_at_ms - begin_ms - 5000) < 200


def test_the_date_of_an_answer_is_a_clock_of_whole_seconds() -> None:
    told = date_of({"date": "Tue, 15 Nov 1994 08:12:31 GMT"})

    assert told == VendorTime(at_ms=784_887_151_000, resolution_ms=1000)
    assert date_of({}) is None
    assert date_of({"date": "yesterday"}) is None
    assert date_of({"date": "Tue, 99 Nov 1994 08:12:31 GMT"}) is None
    assert date_of({"date": "Tue, 15 Nov 1994 08:12:31 +99999999999999"}) is None
