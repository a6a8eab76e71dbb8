"""Asks the gateway itself why a connection does not come about: one raw CONNECT, look-up and SUBSCRIBE.

The Pulsar client shows a wrong key, a missing subscription and a silent network all as `Timeout`, while the broker
says which it is within milliseconds. Nothing is consumed: the probe gives no permits and leaves at once.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, Literal

from msgspec import Struct

from consumer import pulsar_frames
from consumer.pulsar_connection import CaFileUnreadable, Refused, broker_of, connected
from consumer.pulsar_frames import Command, ServerError
from consumer.settings import GatewayAccount
from consumer.source import topic_names
from consumer.trust import address, certificate_problem

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
    except CaFileUnreadable as error:
        return ProbeResult(outcome="tls_failure", what=str(error), remedy="name a PEM file of certificates")
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
        self._url = account.gateway.url

    async def run(self) -> None:
        try:
            await self._walk()
        except Refused as refusal:
            self._refuse(refusal.code)

    async def _walk(self) -> None:
        account = self._account
        async with connected(account) as connection:
            partition, *_ = await connection.partitions(self._topic)
            broker = await broker_of(account, connection, partition)
        async with connected(account, broker) as connection:
            await connection.send(pulsar_frames.subscribe(partition, account.gateway.subscription))
            number, fields = await connection.receive()
            if number == Command.ERROR:
                raise Refused(fields.get(2))

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


def _where(url: str) -> str:
    host, port, _ = address(url)
    return f"{host}:{port}"
