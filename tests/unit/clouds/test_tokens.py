from __future__ import annotations

import asyncio

import pytest

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import AuthRefused, CloudError, Unanswered
from bridge.clouds.tokens import Token, Tokens
from bridge.clouds.tuya.token import token_of
from tests.virtual_time import in_virtual_time, now_ms


class Issuer:
    def __init__(self, life_s: int = 7200, latency_s: float = 0.1) -> None:
        self.life_s = life_s
        self.latency_s = latency_s
        self.fetches = 0
        self.failures: list[CloudError] = []

    async def __call__(self) -> Token:
        self.fetches += 1
        number = self.fetches
        await asyncio.sleep(self.latency_s)
        if self.failures:
            raise self.failures.pop()
        told = {"access_token": f"token{number}", "expire_time": self.life_s}
        return token_of(told, api="token", issued_at_ms=now_ms())


def tokens(issuer: Issuer) -> Tokens:
    return Tokens(issuer, VendorClock(now_ms))


@in_virtual_time
async def test_all_who_wait_share_one_fetch() -> None:
    issuer = Issuer()
    store = tokens(issuer)

    found = await asyncio.gather(*(store.get() for _ in range(50)))

    assert issuer.fetches == 1
    assert {token.value for token in found} == {"token1"}


@in_virtual_time
async def test_all_who_wait_share_one_failure() -> None:
    issuer = Issuer()
    issuer.failures = [Unanswered("down", api="token")]
    store = tokens(issuer)

    found = await asyncio.gather(*(store.get() for _ in range(50)), return_exceptions=True)

    assert issuer.fetches == 1
    assert all(isinstance(error, Unanswered) for error in found)
    assert (await store.get()).value == "token2"


@in_virtual_time
async def test_a_token_is_renewed_a_minute_before_its_end() -> None:
    issuer = Issuer()
    store = tokens(issuer)
    await store.get()

    await asyncio.sleep(7139)
    assert (await store.get()).value == "token1"
    await asyncio.sleep(1.1)
    assert (await store.get()).value == "token2"


@in_virtual_time
async def test_a_token_is_used_to_its_end_while_renewing_it_fails() -> None:
    issuer = Issuer()
    store = tokens(issuer)
    await store.get()
    issuer.failures = [Unanswered("down", api="token") for _ in range(1000)]
    await asyncio.sleep(7145)

    found = await asyncio.gather(*(store.get() for _ in range(50)))

    assert {token.value for token in found} == {"token1"}
    assert issuer.fetches == 2
    await asyncio.sleep(60)
    with pytest.raises(Unanswered):
        await store.get()


@in_virtual_time
async def test_renewing_that_fails_is_not_tried_for_every_request() -> None:
    issuer = Issuer()
    store = tokens(issuer)
    await store.get()
    issuer.failures = [Unanswered("down", api="token") for _ in range(3)]
    await asyncio.sleep(7140)

    for _ in range(450):
        await asyncio.sleep(0.1)
        found = await store.get()

    assert (issuer.fetches, found.value) == (5, "token5")


@in_virtual_time
async def test_an_old_token_is_not_used_once_it_or_the_account_was_refused() -> None:
    issuer = Issuer()
    store = tokens(issuer)
    token = await store.get()
    await asyncio.sleep(7145)
    issuer.failures = [AuthRefused("no", api="token")]
    with pytest.raises(AuthRefused):
        await store.get()

    issuer.failures = [Unanswered("down", api="token"), Unanswered("down", api="token")]
    assert (await store.get()).value == "token1"
    store.reject(token)
    with pytest.raises(Unanswered):
        await store.get()
    assert (await store.get()).value == "token5"


@in_virtual_time
async def test_a_token_that_lives_shortly_is_not_fetched_for_every_request() -> None:
    issuer = Issuer(life_s=40)
    store = tokens(issuer)

    for _ in range(60):
        await store.get()
        await asyncio.sleep(1)

    assert issuer.fetches == 3


@in_virtual_time
async def test_a_late_refusal_of_an_old_token_leaves_the_newer_one() -> None:
    store = tokens(Issuer())
    old = await store.get()
    store.reject(old)
    new = await store.get()

    store.reject(old)

    assert (await store.get()).value == new.value == "token2"


@in_virtual_time
async def test_a_fetch_that_is_cancelled_leaves_the_fetching_to_the_next() -> None:
    issuer = Issuer()
    store = tokens(issuer)
    first = asyncio.create_task(store.get())
    second = asyncio.create_task(store.get())
    await asyncio.sleep(0.05)

    first.cancel()

    assert (await second).value == "token2"
    with pytest.raises(asyncio.CancelledError):
        await first


def test_a_token_does_not_print_itself() -> None:
    assert "secret" not in repr(Token("secret", 1, 2))
