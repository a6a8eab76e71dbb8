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
from consumer.trust import address, tls_context

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
_REDIRECT: Final = 0
_FAILED: Final = 2
_MAX_REDIRECTS: Final = 5

_CERTIFICATE_PROBLEMS: Final = {
    9: "is not valid yet: check this machine's clock",
    10: "has expired: the gateway's operator has to renew it (or check this machine's clock)",
    18: "signs itself: set ca_file to the gateway's own certificate authority",
    19: "comes from an authority not trusted here: set ca_file to the gateway's own certificate authority",
    20: "comes from an authority not trusted here: set ca_file to the gateway's own certificate authority",
    21: "comes from an authority not trusted here: set ca_file to the gateway's own certificate authority",
    62: "is for another host name: write the name it is for into the url",
    64: "is for another address: write the host name it is for into the url",
}
"""By OpenSSL's X509_V_ERR numbers."""


class ProbeResult(Struct, frozen=True, kw_only=True):
    """What the gateway said. `message` tells what, where and the remedy; it never holds the key."""

    outcome: Outcome
    message: str

    @property
    def refused(self) -> bool:
        """Whether the gateway said no to what we asked for; everything else may pass by itself."""
        return self.outcome in _REFUSALS


class _Answered(Exception):
    """The probe ended early with a result."""

    def __init__(self, outcome: Outcome, message: str) -> None:
        self.result = ProbeResult(outcome=outcome, message=message)
        super().__init__(message)


async def probe(account: GatewayAccount, *, timeout_s: float = 4.0) -> ProbeResult:
    """Walk through everything a subscription needs, for each of the account's topics, and tell the first refusal."""
    where = _where(account.gateway.url)
    try:
        async with asyncio.timeout(timeout_s):
            for topic in topic_names(account):
                await _Probe(account, topic).run()
    except _Answered as answered:
        return answered.result
    except ssl.SSLCertVerificationError as error:
        problem = _CERTIFICATE_PROBLEMS.get(error.verify_code, f"was not accepted: {error.verify_message}")
        return ProbeResult(outcome="tls_failure", message=f"the certificate of {where} {problem}")
    except ssl.SSLError as error:
        reason = error.reason or type(error).__name__
        return ProbeResult(
            outcome="tls_failure", message=f"no TLS with {where} ({reason}): check port and ca_file"
        )
    except TimeoutError:
        return ProbeResult(
            outcome="unreachable",
            message=f"{where} does not answer within {timeout_s:g} s: check host and firewall",
        )
    except (OSError, EOFError) as error:
        told = error.strerror if isinstance(error, OSError) else "it closes the connection"
        return ProbeResult(
            outcome="unreachable",
            message=f"{where} cannot be reached ({told or type(error).__name__}): check host, port and firewall",
        )
    except ValueError:
        return ProbeResult(
            outcome="unreachable", message=f"{where} does not speak Pulsar's protocol: check host and port"
        )
    return ProbeResult(outcome="accepted", message=f"{where} accepts this account")


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
        if error == ServerError.AUTHENTICATION:
            raise _Answered(
                "wrong_key",
                f"{where} refuses the access key of {account.access_id}: check access_id and access_key of"
                f" account {account.name}, and that both belong to this data center",
            )
        if error == ServerError.SUBSCRIPTION_NOT_FOUND:
            raise _Answered(
                "missing_subscription",
                f"{where} has no subscription {account.gateway.subscription} on {self._topic}: create it in the"
                " cloud's console, or correct gateway.subscription",
            )
        if error == ServerError.AUTHORIZATION:
            raise _Answered(
                "forbidden_topic",
                f"{where} does not let {account.access_id} read {self._topic}: it belongs to another account, or the"
                " message service is not enabled for this project; correct gateway.topics or enable it",
            )
        if error in (ServerError.TOPIC_NOT_FOUND, ServerError.INVALID_TOPIC_NAME):
            raise _Answered(
                "missing_topic",
                f"{where} has no topic {self._topic}: enable the message service for this project, or correct"
                " gateway.topics",
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
                raise _Answered("tls_failure", f"{told}: it has to be a PEM file of certificates") from None
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
