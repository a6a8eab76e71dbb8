"""An ASGI application on a free port of this machine, in the loop that is already there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

_BACKLOG = 256
_KEEP_ALIVE_S = 75
"""Longer than clients keep an idle connection: the side that closes first loses no request."""
_GRACE_S = 1


class AppServer:
    """Serves `app` on 127.0.0.1, with TLS when given a certificate, while `run` runs. With `client_ca_file` it

    serves only who shows a certificate of that authority.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        client_ca_file: Path | None = None,
    ) -> None:
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.bind(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",  # takes header names with underscores, which Tuya's have
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,  # a simulated cloud has a clock of its own
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
                ssl_certfile=cert_file,
                ssl_keyfile=key_file,
                ssl_ca_certs=None if client_ca_file is None else str(client_ca_file),
                ssl_cert_reqs=ssl.CERT_NONE if client_ca_file is None else ssl.CERT_REQUIRED,
            )
        )

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            # Cancelled, uvicorn leaves it open.
            self._listener.close()

    async def answering(self) -> None:
        """Return once requests are served."""
        await self._server.serves.wait()

    def stop(self) -> None:
        """Let `run` return, within a second or so."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Says when it serves. Signals belong to the program that runs us."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serves = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.serves.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
