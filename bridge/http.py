"""The read-only pages: `/livez` for whoever restarts the process, `/metrics` for Prometheus, `/status` for people.

The server lives in the daemon's own event loop. A loop that is stuck therefore cannot answer `/livez`; one that was
stuck for long says so in its next answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.config.settings import HttpSettings
from bridge.metrics.collector import CONTENT_TYPE, StatusCollector
from bridge.status import Status

log = structlog.get_logger(__name__)

LAG_INTERVAL_S: Final = 0.5

LAG_LIMIT_S: Final = 10.0
"""A third of the Kafka session timeout: a loop stuck for this long is about to lose its partitions."""

LAG_WINDOW: Final = 60
"""Measurements kept: half a minute, several probes of a usual liveness check."""


class LoopLag:
    """Measures how late the event loop wakes up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lags: deque[float] = deque([0.0], maxlen=LAG_WINDOW)
        self._due = clock() + LAG_INTERVAL_S

    def tick(self) -> None:
        """Note one wake-up that was due a moment ago, and when the next is due."""
        now = self._clock()
        self._lags.append(max(0.0, now - self._due))
        self._due = now + LAG_INTERVAL_S

    def worst_s(self) -> float:
        """Return the largest recent lag, that of an overdue wake-up included."""
        return max(*self._lags, self._clock() - self._due, 0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            await asyncio.sleep(LAG_INTERVAL_S)
            self.tick()


class Pages:
    """The answers, as an ASGI application. `alive` says whether the supervisor runs, `status` what is shown."""

    def __init__(
        self, *, lag: LoopLag, alive: Callable[[], bool], status: Callable[[], Status], show_status: bool
    ) -> None:
        self._lag = lag
        self._alive = alive
        self._status = status
        self._metrics = StatusCollector(status, lag.worst_s)
        routes = [Route("/livez", self._livez), Route("/metrics", self._answer_metrics)]
        if show_status:
            routes.append(Route("/status", self._answer_status))
        self.application = Starlette(routes=routes)

    async def _livez(self, _request: Request) -> Response:
        worst_s, alive = self._lag.worst_s(), self._alive()
        good = alive and worst_s < LAG_LIMIT_S
        body = {"alive": good, "supervisor": alive, "loop_lag_s": round(worst_s, 3)}
        return _json(body, 200 if good else 503)

    async def _answer_metrics(self, _request: Request) -> Response:
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)

    async def _answer_status(self, _request: Request) -> Response:
        return _json(_in_milliseconds(msgspec.to_builtins(self._status(), enc_hook=str)), 200)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the daemon's own stop everything in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """Serves the pages: `bind`, then `run` until `stop`."""

    def __init__(self, settings: HttpSettings, pages: Pages) -> None:
        self._settings = settings
        self._bound: socket.socket | None = None
        self._server = _Server(
            uvicorn.Config(
                pages.application,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                ws="none",
                timeout_graceful_shutdown=2,
            )
        )

    def bind(self) -> int:
        """Take the address and return its port.

        Raises OSError when somebody else has it or there is none, UnicodeError for a host that cannot be a name.
        """
        self._bound = _bind(self._settings.host, self._settings.port)
        port: int = self._bound.getsockname()[1]
        log.info("http_listening", host=self._settings.host, port=port)
        return port

    async def run(self) -> None:
        """Answer until `stop`, then finish what was asked."""
        if self._bound is None:
            raise RuntimeError("bind() comes before run()")
        await self._server.serve(sockets=[self._bound])

    def stop(self) -> None:
        """Ask `run` to return."""
        self._server.should_exit = True

    def close(self) -> None:
        """Give the address back, whatever became of `run`."""
        if self._bound is not None:
            self._bound.close()


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _name, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        # Only who listens owns the port: with SO_REUSEADDR two may have bound it.
        bound.listen()
    except OSError:
        bound.close()
        raise
    return bound


def _in_milliseconds(shown: Any) -> Any:
    """Round what is measured: sixteen digits of an age tell nobody more."""
    if isinstance(shown, float):
        return round(shown, 3)
    if isinstance(shown, dict):
        return {name: _in_milliseconds(value) for name, value in shown.items()}
    if isinstance(shown, list | tuple):
        return [_in_milliseconds(value) for value in shown]
    return shown


def _json(body: Any, code: int) -> Response:
    encoded = msgspec.json.encode(body, enc_hook=str)
    return Response(msgspec.json.format(encoded, indent=2) + b"\n", code, media_type="application/json")
