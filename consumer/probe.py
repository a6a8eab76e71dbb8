"""Asks the gateway itself why a connection does not come about: one raw CONNECT, look-up and SUBSCRIBE.

The Pulsar client shows a wrong key, a missing subscription and a silent network all as `Timeout`, while the broker
says which it is within milliseconds. Nothing is consumed: the probe gives no permits and leaves at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final, Literal, Self

from msgspec import Struct

from consumer import auth, pulsar_frames
from consumer.pulsar_frames import Command, Fields, ServerError
from consumer.settings import GatewayAccount
from consumer.source import topic_names
from consumer.trust import address, certificate_problem, tls_context

Outcome = Literal[
    "accepted",
    "wrong_key",
    "missing_subscription",
    "forbidden_topic",
    "missing_topic",
    "tls_failure",
    "unreachable",
    "unavailable",
]

_REFUSALS: Final = frozenset({"wrong_key", "missing_subscription", "forbidden_topic", "missing_topic"})
_SHORTEST_KEY: Final = 24
"""An access id as long as a key may be the key: whoever mixed them up must not read it in a log."""
_REDIRECT: Final = 0
_FAILED: Final = 2
_MAX_REDIRECTS: Final = 5


class ProbeResult(Struct, frozen=True, kw_only=True):
    """What the gateway said: what and where, and the remedy if there is one. Neither ever holds the key."""

    outcome: Outcome
    what: str
    remedy: str | None = None

    @property
    def refused(self) -> bool:
        """Whether the gateway said no to what we asked for; everything else may pass by itself."""
        return self.outcome in _REFUSALS

    @property
    def message(self) -> str:
        """Both as one sentence."""
        return self.what if self.remedy is None else f"{self.what}: {self.remedy}"


class _Answered(Exception):
    """The probe ended early with a result."""

    def __init__(self, outcome: Outcome, what: str, remedy: str | None = None) -> None:
        self.result = ProbeResult(outcome=outcome, what=what, remedy=remedy)
        super().__init__(what)


async def probe(account: GatewayAccount, *, timeout_s: float = 4.0) -> ProbeResult:
    """Walk through everything a subscription needs, for each of the account's topics, and tell the first refusal."""
    try:
        async with asyncio.timeout(timeout_s):
            for topic in topic_names(account):
                await _Probe(account, topic).run()
    except _Answered as answered:
        return answered.result
    except (OSError, EOFError, ValueError) as error:
        return _failure(account, error, timeout_s)
    return ProbeResult(outcome="accepted", what=f"{_where(account.gateway.url)} accepts this account")


def _failure(account: GatewayAccount, error: Exception, timeout_s: float) -> ProbeResult:
    """Return why the gateway could not be asked."""
    where, table = _where(account.gateway.url), f"accounts.{account.name}.gateway"
    outcome: Outcome = "unreachable"
    remedy = f"check {table}.url and the firewall"
    if isinstance(error, ssl.SSLCertVerificationError):
        problem, remedy = certificate_problem(error, table=table)
        outcome, what = "tls_failure", f"the certificate of {where} {problem}"
    elif isinstance(error, ssl.SSLError):
        outcome, what = "tls_failure", f"no TLS with {where} ({error.reason or type(error).__name__})"
        remedy = f"check the port in {table}.url, and {table}.ca_file"
    elif isinstance(error, TimeoutError):
        what = f"{where} does not answer within {timeout_s:g} s"
    elif isinstance(error, OSError):
        what = f"{where} cannot be reached ({error.strerror or type(error).__name__})"
    elif isinstance(error, EOFError):
        what = f"{where} cannot be reached (it closes the connection)"
    else:
        what, remedy = f"{where} does not speak Pulsar's protocol", f"check {table}.url"
    return ProbeResult(outcome=outcome, what=what, remedy=remedy)


class _Probe:
    """One walk: where the topic is served, and whether the subscription may be used."""

    def __init__(self, account: GatewayAccount, topic: str) -> None:
        self._account = account
        self._topic = topic
        self._auth_data = auth.authentication_json(account.access_id, account.access_key)
        self._url = account.gateway.url

    async def run(self) -> None:
        async with _Connection(self._account, self._url) as connection:
            await self._connect(connection, proxy_to=None)
            metadata = await connection.ask(
                pulsar_frames.partitioned_metadata(self._topic), Command.PARTITIONED_METADATA_RESPONSE
            )
            if metadata.get(3):
                self._refuse(metadata.get(4))
            partitions = metadata.get(1, 0)
            topic = f"{self._topic}-partition-0" if partitions else self._topic
            answer = await self._lookup(connection, topic, authoritative=False)
            for _ in range(_MAX_REDIRECTS):
                if answer.get(3) != _REDIRECT:
                    break
                async with _Connection(self._account, self._broker_url(answer)) as other:
                    await self._connect(other, proxy_to=None)
                    answer = await self._lookup(other, topic, authoritative=bool(answer.get(5)))
        behind_proxy = bool(answer.get(8))
        broker = self._broker_url(answer)
        async with _Connection(self._account, self._url if behind_proxy else broker) as connection:
            await self._connect(connection, proxy_to=broker.split("://", 1)[-1] if behind_proxy else None)
            subscription = self._account.gateway.subscription
            await connection.send(pulsar_frames.subscribe(topic, subscription))
            number, fields = await connection.receive()
            if number == Command.ERROR:
                self._refuse(fields.get(2))

    async def _connect(self, connection: _Connection, *, proxy_to: str | None) -> None:
        await connection.send(pulsar_frames.connect(auth.METHOD, self._auth_data, proxy_to))
        number, fields = await connection.receive()
        if number == Command.ERROR:
            self._refuse(fields.get(2))
        elif number != Command.CONNECTED:
            raise ValueError("neither CONNECTED nor ERROR")

    async def _lookup(self, connection: _Connection, topic: str, *, authoritative: bool) -> Fields:
        answer = await connection.ask(
            pulsar_frames.lookup(topic, authoritative=authoritative), Command.LOOKUP_RESPONSE
        )
        if answer.get(3) == _FAILED:
            self._refuse(answer.get(6))
        return answer

    def _broker_url(self, answer: Fields) -> str:
        """Return the broker that serves the topic, by the same scheme as the service URL."""
        *_, tls = address(self._url)
        url = answer.get(2 if tls else 1, b"")
        return url.decode() if isinstance(url, bytes) and url else self._url

    def _refuse(self, error: int | bytes | None) -> None:
        account, where = self._account, _where(self._url)
        key, subscription = account.access_id, account.gateway.subscription
        table, again = f"accounts.{account.name}", "and start the bridge again"
        if error == ServerError.AUTHENTICATION:
            raise _Answered(
                "wrong_key",
                f"{where} refuses the access key of {key if len(key) < _SHORTEST_KEY else 'this access id'}",
                f"correct {table}.access_id and {table}.access_key_file, or {table}.gateway.url if they belong to"
                f" another data center, {again}",
            )
        if error == ServerError.SUBSCRIPTION_NOT_FOUND:
            raise _Answered(
                "missing_subscription",
                f"{where} has no subscription {subscription} on {self._topic}",
                f"create it in the cloud's console, or correct {table}.gateway.subscription, {again}",
            )
        if error == ServerError.AUTHORIZATION:
            raise _Answered(
                "forbidden_topic",
                f"{where} does not let {key} read {self._topic}: it belongs to another account, or the message"
                " service is not enabled for this project",
                f"correct {table}.gateway.topics, or enable the service in the cloud's console, {again}",
            )
        if error in (ServerError.TOPIC_NOT_FOUND, ServerError.INVALID_TOPIC_NAME):
            raise _Answered(
                "missing_topic",
                f"{where} has no topic {self._topic}",
                "enable the message service for this project in the cloud's console, or correct"
                f" {table}.gateway.topics, {again}",
            )
        raise _Answered("unavailable", f"{where} cannot serve {self._topic} at the moment (error {error!r})")


class _Connection:
    """One TCP or TLS connection that speaks frames."""

    def __init__(self, account: GatewayAccount, url: str) -> None:
        self._settings = account.gateway
        self._host, self._port, self._tls = address(url)

    async def __aenter__(self) -> Self:
        context = None
        if self._tls:
            try:
                context = await asyncio.to_thread(tls_context, self._settings)
            except OSError as error:
                told = f"ca_file {self._settings.ca_file} cannot be read ({error.strerror or error})"
                raise _Answered("tls_failure", told, "name a PEM file of certificates") from None
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=context)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        # The broker may be gone already, and it need not say goodbye.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(0.5):
                await self._writer.wait_closed()

    async def send(self, frame: bytes) -> None:
        self._writer.write(frame)
        await self._writer.drain()

    async def receive(self) -> tuple[int, Fields]:
        """Return the next command that is not a keep-alive."""
        while True:
            size = await self._reader.readexactly(4)
            if (count := int.from_bytes(size)) > pulsar_frames.FRAME_LIMIT_BYTES:
                raise ValueError("not a Pulsar frame")
            number, fields = pulsar_frames.parse(await self._reader.readexactly(count))
            if number != Command.PING:
                return number, fields
            await self.send(pulsar_frames.pong())

    async def ask(self, frame: bytes, answer: Command) -> Fields:
        await self.send(frame)
        while True:
            number, fields = await self.receive()
            if number == answer:
                return fields
            if number == Command.ERROR:
                raise ValueError("an error without a request")


def _where(url: str) -> str:
    host, port, _ = address(url)
    return f"{host}:{port}"
