"""A TCP proxy between a client and a broker: it can cut connections, in the middle of a frame if need be, and hold
back what it forwards. With a certificate of its own it ends the client's TLS and begins another.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Final

from msgspec import Struct

_CHUNK_BYTES: Final = 64 * 1024


class Target(Struct, frozen=True, kw_only=True):
    """Where connections are forwarded to; `context` verifies the target's TLS, where it speaks any."""

    host: str = "127.0.0.1"
    port: int
    context: ssl.SSLContext | None = None


class Proxy:
    """Counts what passed. Everything is called on the event loop that serves it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ends: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._cut_after_bytes: int | None = None
        self.connections = 0
        self.forwarded_bytes = 0

    def cut(self) -> int:
        """Break every connection off at once (RST, nothing more is sent); return how many sides had one."""
        ends, self._ends = self._ends, set()
        for end in ends:
            end.transport.abort()
        return len(ends)

    def cut_after(self, size_bytes: int) -> None:
        """Break every connection off when so many more bytes have passed to the client, wherever that is."""
        self._cut_after_bytes = self.forwarded_bytes + size_bytes

    def hold(self) -> None:
        """Forward nothing from now on; connections stay open."""
        self._flowing.clear()

    def proceed(self) -> None:
        """Forward again, beginning with what was held back."""
        self._flowing.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        self.connections += 1
        target = self._target
        self._ends.add(writer)
        try:
            there, back = await asyncio.open_connection(target.host, target.port, ssl=target.context)
        except OSError:  # the broker is down: so is the proxy for this client
            self._end(writer)
            return
        self._ends.add(back)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward(reader, back, to_client=False))
                both.create_task(self._forward(there, writer, to_client=True))
        finally:
            self._end(writer)
            self._end(back)

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._flowing.wait()
                if to_client:
                    left = self._left_before_cut(len(chunk))
                    if left is not None:
                        writer.write(chunk[:left])
                        await writer.drain()
                        self.cut()
                        return
                    self.forwarded_bytes += len(chunk)
                writer.write(chunk)
                await writer.drain()
        # One side has ended: so does the other.
        self._end(writer)

    def _left_before_cut(self, size_bytes: int) -> int | None:
        limit = self._cut_after_bytes
        if limit is None or self.forwarded_bytes + size_bytes < limit:
            return None
        self._cut_after_bytes = None
        return limit - self.forwarded_bytes

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._ends.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def proxied(
    port: int, target: Target, *, certificate: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """Listen on `port` of 127.0.0.1 (0: any free one) and forward to `target`.

    With `certificate` the proxy ends the client's TLS itself; without it bytes pass as they are.
    """
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, ssl=certificate)
    try:
        yield proxy
    finally:
        server.close()
        proxy.proceed()
        proxy.cut()
        await server.wait_closed()
