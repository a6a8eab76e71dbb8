"""Raw connections to the gateway's brokers, to ask what the Pulsar client does not tell.

Nothing is consumed over them: who subscribes here gives no permits, stands behind every consumer of the account, and
leaves at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final, Self

from msgspec import Struct

from consumer import auth, pulsar_frames
from consumer.pulsar_frames import Command, Fields
from consumer.settings import GatewayAccount, GatewaySettings
from consumer.trust import address, tls_context

_REDIRECT: Final = 0
_FAILED: Final = 2
_MAX_REDIRECTS: Final = 5


class Refused(Exception):
    """The broker answered with an error; `code` is one of Pulsar's ServerError numbers."""

    def __init__(self, code: int | bytes | None) -> None:
        self.code = code
        super().__init__(f"the gateway answers with error {code!r}")


class CaFileUnreadable(Exception):
    """The configured file of trusted authorities cannot be read."""

    def __init__(self, gateway: GatewaySettings, error: OSError) -> None:
        super().__init__(f"ca_file {gateway.ca_file} cannot be read ({error.strerror or error})")


class Broker(Struct, frozen=True):
    """Who serves a topic: reached at its URL, or behind the proxy at the account's own."""

    url: str
    is_behind_proxy: bool


class Connection:
    """One TCP or TLS connection that speaks frames."""

    def __init__(self, gateway: GatewaySettings, url: str) -> None:
        self._settings = gateway
        self._host, self._port, self._tls = address(url)

    async def __aenter__(self) -> Self:
        """Connect. Raises OSError or CaFileUnreadable."""
        context = None
        if self._tls:
            try:
                context = await asyncio.to_thread(tls_context, self._settings)
            except OSError as error:
                raise CaFileUnreadable(self._settings, error) from None
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave; the broker then forgets whatever was subscribed."""
        self._writer.close()
        # The broker may be gone already, and it need not say goodbye.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._writer.wait_closed()

    async def send(self, frame: bytes) -> None:
        """Send frames."""
        self._writer.write(frame)
        await self._writer.drain()

    async def receive(self) -> tuple[int, Fields]:
        """Return the next command that is not a keep-alive. Raises OSError, EOFError, ValueError: not Pulsar's."""
        while True:
            size = await self._reader.readexactly(4)
            if (count := int.from_bytes(size)) > pulsar_frames.FRAME_LIMIT_BYTES:
                raise ValueError("not a Pulsar frame")
            number, fields = pulsar_frames.parse(await self._reader.readexactly(count))
            if number != Command.PING:
                return number, fields
            await self.send(pulsar_frames.pong())

    async def ask(self, frame: bytes, answer: Command) -> Fields:
        """Send a request whose answer has a type of its own for errors, too; return the answer."""
        await self.send(frame)
        while True:
            number, fields = await self.receive()
            if number == answer:
                return fields
            if number == Command.ERROR:
                raise ValueError("an error without a request")

    async def answers(self, requests: Collection[int], answer: Command, id_field: int) -> dict[int, Fields]:
        """Return the answers to requests that were sent, by request id. Raises Refused at the first error."""
        answered: dict[int, Fields] = {}
        while len(answered) < len(requests):
            number, fields = await self.receive()
            if number == Command.ERROR:
                raise Refused(fields.get(2))
            if number == answer and isinstance(request := fields.get(id_field), int) and request in requests:
                answered[request] = fields
        return answered

    async def authenticate(self, account: GatewayAccount, proxy_to: str | None) -> None:
        """CONNECT. Raises Refused."""
        auth_data = auth.authentication_json(account.access_id, account.access_key)
        await self.send(pulsar_frames.connect(auth.METHOD, auth_data, proxy_to))
        number, fields = await self.receive()
        if number == Command.ERROR:
            raise Refused(fields.get(2))
        if number != Command.CONNECTED:
            raise ValueError("neither CONNECTED nor ERROR")

    async def partitions(self, topic: str) -> list[str]:
        """Return the full names of a topic's partitions, its own where it has none. Raises Refused."""
        metadata = await self.ask(
            pulsar_frames.partitioned_metadata(topic), Command.PARTITIONED_METADATA_RESPONSE
        )
        if metadata.get(3):
            raise Refused(metadata.get(4))
        count = metadata.get(1, 0)
        if not isinstance(count, int):
            raise ValueError("a number of partitions that is none")  # noqa: TRY004 (bad input)
        return [f"{topic}-partition-{number}" for number in range(count)] or [topic]

    async def look_up(self, topic: str, *, authoritative: bool) -> Fields:
        """Return what this broker knows of who serves a partition. Raises Refused."""
        answer = await self.ask(
            pulsar_frames.lookup(topic, authoritative=authoritative), Command.LOOKUP_RESPONSE
        )
        if answer.get(3) == _FAILED:
            raise Refused(answer.get(6))
        return answer


@asynccontextmanager
async def connected(account: GatewayAccount, broker: Broker | None = None) -> AsyncIterator[Connection]:
    """An authenticated connection to a broker, to the service URL where none is named. Raises as its methods do."""
    url, proxy_to = account.gateway.url, None
    if broker is not None and broker.is_behind_proxy:
        proxy_to = broker.url.split("://", 1)[-1]
    elif broker is not None:
        url = broker.url
    async with Connection(account.gateway, url) as connection:
        await connection.authenticate(account, proxy_to)
        yield connection


async def broker_of(account: GatewayAccount, connection: Connection, topic: str) -> Broker:
    """Return the broker that serves a partition, by the same scheme as the service URL; follows redirects."""
    answer = await connection.look_up(topic, authoritative=False)
    for _ in range(_MAX_REDIRECTS):
        if answer.get(3) != _REDIRECT:
            break
        async with connected(account, Broker(_url(account, answer), is_behind_proxy=False)) as other:
            answer = await other.look_up(topic, authoritative=bool(answer.get(5)))
    return Broker(_url(account, answer), is_behind_proxy=bool(answer.get(8)))


def _url(account: GatewayAccount, answer: Fields) -> str:
    *_, tls = address(account.gateway.url)
    url = answer.get(2 if tls else 1, b"")
    return url.decode() if isinstance(url, bytes) and url else account.gateway.url
