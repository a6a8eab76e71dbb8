"""A TCP proxy between a client and a broker that can cut connections, in the middle of a frame if need be, and hold
back what the client sends.

With a certificate of its own it ends the client's TLS and speaks plainly to the broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Final

_CHUNK_BYTES: Final = 64 * 1024


class Proxy:
    """Counts what passed. Everything is called on the event loop that serves it."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._ends: set[asyncio.StreamWriter] = set()
        self._cut_after_bytes: int | None = None
        self._taking = asyncio.Event()
        self._taking.set()
        self.port = 0
        self.cuts = 0
        self.to_client_bytes = 0
        self.to_target_bytes = 0

    def cut(self) -> None:
        """Break every connection off at once: nothing more is sent."""
        ends, self._ends = self._ends, set()
        for end in ends:
            end.transport.abort()
        self.cuts += bool(ends)

    def cut_after(self, size_bytes: int) -> None:
        """Break every connection off when so many more bytes have passed to the client, wherever that is."""
        self._cut_after_bytes = self.to_client_bytes + size_bytes

    def hold(self) -> None:
        """Let nothing more of what the client sends reach the broker; a connection cut meanwhile loses it."""
        self._taking.clear()

    def proceed(self) -> None:
        """Forward again."""
        self._taking.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until either side ends it."""
        self._ends.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:  # the broker is down: so is the proxy for this client
            self._end(writer)
            return
        self._ends.add(back)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward_to_target(reader, back))
                both.create_task(self._forward_to_client(there, writer))
        finally:
            self._end(writer)
            self._end(back)

    async def _forward_to_target(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                await self._taking.wait()
                self.to_target_bytes += len(chunk)
                writer.write(chunk)
                await writer.drain()
        # One side has ended: so does the other.
        self._end(writer)

    async def _forward_to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK_BYTES):
                limit = self._cut_after_bytes
                if limit is not None and self.to_client_bytes + len(chunk) >= limit:
                    writer.write(chunk[: limit - self.to_client_bytes])
                    await writer.drain()
                    self._cut_after_bytes = None
                    self.cut()
                    return
                self.to_client_bytes += len(chunk)
                writer.write(chunk)
                await writer.drain()
        self._end(writer)

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._ends.discard(writer)
        writer.close()


@contextlib.asynccontextmanager
async def proxied(
    port: int, target_port: int, *, certificate: ssl.SSLContext | None = None
) -> AsyncIterator[Proxy]:
    """Listen on `port` of this machine (0: any free one) and forward to another."""
    proxy = Proxy(target_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", port, ssl=certificate)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await server.wait_closed()
