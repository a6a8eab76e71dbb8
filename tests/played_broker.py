"""A scripted Pulsar broker on the loopback: answers raw frames as a test says, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from consumer import pulsar_frames
from consumer.pulsar_frames import Command

_CONNECTED = pulsar_frames._frame(Command.CONNECTED, (1, "broker"))
_SUCCESS = pulsar_frames._frame(Command.SUCCESS, (1, 3))
_PING = pulsar_frames._frame(Command.PING)


def error_frame(code: int) -> bytes:
    return pulsar_frames._frame(Command.ERROR, (1, 3), (2, code), (3, "no"))


def metadata_frame(partitions: int = 11, error: int | None = None) -> bytes:
    fields: list[tuple[int, int | str]] = [(1, partitions), (2, 1), (3, 0 if error is None else 1)]
    if error is not None:
        fields.append((4, error))
    return pulsar_frames._frame(Command.PARTITIONED_METADATA_RESPONSE, *fields)


def lookup_frame(answer: int, url: str, *, error: int | None = None, proxy: bool = False) -> bytes:
    fields: list[tuple[int, int | str]] = [(1, url), (2, url), (3, answer), (4, 2), (5, 1)]
    if error is not None:
        fields.append((6, error))
    if proxy:
        fields.append((8, 1))
    return pulsar_frames._frame(Command.LOOKUP_RESPONSE, *fields)


class PlayedBroker:
    """Answers each command as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.pongs = 0
        self.asked: list[tuple[int, pulsar_frames.Fields]] = []
        self.answers: dict[int, Callable[[], bytes]] = {
            Command.CONNECT: lambda: _CONNECTED + _PING,
            Command.PARTITIONED_METADATA: metadata_frame,
            Command.LOOKUP: lambda: lookup_frame(1, self.url),
            Command.SUBSCRIBE: lambda: _SUCCESS,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4))
                number, fields = pulsar_frames.parse(await reader.readexactly(size))
                if number == Command.PONG:
                    self.pongs += 1
                    continue
                self.asked.append((number, fields))
                if number in self.answers:
                    writer.write(self.answers[number]())
                    await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def numbers(self) -> list[int]:
        return [number for number, _ in self.asked]


@asynccontextmanager
async def listening(
    broker: PlayedBroker, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[PlayedBroker]:
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        scheme = "pulsar" if tls is None else "pulsar+ssl"
        broker.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield broker
