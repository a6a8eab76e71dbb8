"""The pages say whether the process works and what its stages do, and end with it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import pytest

from bridge.config import HttpSettings
from bridge.http import LAG_INTERVAL_S, LAG_LIMIT_S, LAG_WINDOW, HttpServer, LoopLag, Pages
from consumer.secret import Secret


class Clock:
    """A clock that stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Shown(msgspec.Struct, frozen=True):
    """A stage's statistics."""

    received: int
    key: Secret
    alive_age_s: tuple[float, ...] = (12.345678901234567,)


def pages(*, alive: bool = True, lag: LoopLag | None = None, show_status: bool = True) -> Pages:
    return Pages(
        lag=lag or LoopLag(),
        alive=lambda: alive,
        status=lambda: {"stages": {"consumer": Shown(received=7, key=Secret("hunter2-hunter2"))}},
        show_status=show_status,
    )


def client(of: Pages) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(of.application), base_url="http://bridge")


async def test_livez_answers_while_the_supervisor_works() -> None:
    async with client(pages()) as http:
        answer = await http.get("/livez")

    assert answer.status_code == 200
    assert answer.json()["alive"] is True


async def test_livez_fails_without_a_supervisor() -> None:
    async with client(pages(alive=False)) as http:
        answer = await http.get("/livez")

    assert answer.status_code == 503
    assert answer.json()["supervisor"] is False


async def test_livez_fails_while_a_long_stall_of_the_loop_is_recent() -> None:
    clock = Clock()
    lag = LoopLag(clock)
    clock.now += LAG_INTERVAL_S + LAG_LIMIT_S + 1

    async with client(pages(lag=lag)) as http:
        assert (await http.get("/livez")).status_code == 503
        lag.tick()
        assert (await http.get("/livez")).status_code == 503
        for _ in range(LAG_WINDOW):
            clock.now += LAG_INTERVAL_S
            lag.tick()
        assert (await http.get("/livez")).status_code == 200


async def test_status_shows_the_stages_statistics_and_no_secret() -> None:
    async with client(pages()) as http:
        answer = await http.get("/status")

    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["stages"]["consumer"]["received"] == 7
    assert "hunter2" not in answer.text


async def test_status_shows_what_is_measured_to_the_millisecond() -> None:
    async with client(pages()) as http:
        answer = await http.get("/status")

    assert answer.json()["stages"]["consumer"]["alive_age_s"] == [12.346]


async def test_status_can_be_switched_off() -> None:
    async with client(pages(show_status=False)) as http:
        assert (await http.get("/status")).status_code == 404
        assert (await http.get("/livez")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_pages_are_read_only(method: str) -> None:
    async with client(pages()) as http:
        assert (await http.request(method, "/status")).status_code == 405


@asynccontextmanager
async def serving(settings: HttpSettings) -> AsyncIterator[int]:
    server = HttpServer(settings, pages())
    port = server.bind()
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        yield port
        server.stop()
    server.close()


async def test_any_free_port_is_taken_and_told() -> None:
    async with serving(HttpSettings(port=0)) as port, httpx.AsyncClient() as http:
        assert port > 0
        assert (await http.get(f"http://127.0.0.1:{port}/livez")).status_code == 200


async def test_taken_port_is_an_error_at_once() -> None:
    async with serving(HttpSettings(port=0)) as port:
        with pytest.raises(OSError, match="in use"):
            HttpServer(HttpSettings(port=port), pages()).bind()


async def test_server_leaves_the_signals_to_the_daemon() -> None:
    def handlers() -> list[Callable[..., Any] | int | None]:
        return [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    before = handlers()
    async with serving(HttpSettings(port=0)) as port, httpx.AsyncClient() as http:
        await http.get(f"http://127.0.0.1:{port}/livez")
        assert handlers() == before
