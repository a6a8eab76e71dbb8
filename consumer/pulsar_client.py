"""The Pulsar client as we need it: opened with verified TLS, subscribed and closed without ever blocking for good.

The client's compiled half is used directly: its public wrapping costs a third of the receive time and has blocking
calls only. Those cannot be given up: closing the client while it subscribes loses the answer, a frozen gateway never
answers a close, and `shutdown` holds the interpreter's lock while it waits for a thread that may want it.
"""

from __future__ import annotations

import os
import queue
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Final, Self

import _pulsar
from msgspec import Struct

from consumer import auth
from consumer.settings import GatewayAccount, GatewaySettings
from consumer.trust import address, trust_file

BATCH_MESSAGES: Final = 1000
"""Fewer costs throughput (500: 14 % less), more brings nothing."""
BATCH_WAIT_MS: Final = 1
"""How long a batch is collected: it adds to the latency of every message under light load."""
BATCH_SHARE: Final = 4
"""Of the messages and of the bytes that may be unconfirmed a batch has at most this part. One that waited alone comes
before it, and the first is in it however large it is."""
OPERATION_TIMEOUT_S: Final = 10
CLIENT_CLOSE_S: Final = 0.5
"""Kept for closing the client, which answers at once also where its gateway does not. One that is not closed aborts
the process at its end."""
_CHECK_S: Final = 0.1
_RELEASE_CHECK_S: Final = 0.001


class NotSubscribed(Exception):
    """The gateway does not let us, or does not answer. Why, the probe finds out: the client calls most a timeout."""


def open_client(account: GatewayAccount) -> _pulsar.Client:
    """Return a client; it connects when it subscribes."""
    gateway = account.gateway
    user, password = auth.basic_halves(account.access_id, account.access_key)
    configuration = _pulsar.ClientConfiguration()
    configuration.authentication(_pulsar.AuthenticationBasic.create(user, password, auth.METHOD))
    configuration.operation_timeout_seconds(OPERATION_TIMEOUT_S)
    *_, tls = address(gateway.url)
    if tls:
        configuration.tls_trust_certs_file_path(trust_file(gateway))
        # The client's default would accept any name on a trusted certificate.
        configuration.tls_validate_hostname(gateway.tls_verify)
        configuration.tls_allow_insecure_connection(not gateway.tls_verify)
    # Never a Python logger: the client's threads would wait for the interpreter's lock (pulsar-client-python 116).
    # What it would write the probe finds out, and our own log tells.
    configuration.set_file_logger(_pulsar.LoggerLevel.Error, gateway.client_log_file or os.devnull)
    return _pulsar.Client(gateway.url, configuration)


def subscribe(
    client: _pulsar.Client, account: GatewayAccount, topics: Sequence[str], *, wanted: Callable[[], bool]
) -> _pulsar.Consumer | None:
    """Subscribe; return None as soon as it is no longer wanted. Raises NotSubscribed."""
    answers: queue.SimpleQueue[tuple[_pulsar.Result, _pulsar.Consumer]] = queue.SimpleQueue()

    def answered(result: _pulsar.Result, consumer: _pulsar.Consumer) -> None:
        answers.put((result, consumer))

    subscription, configuration = account.gateway.subscription, _consumer_configuration(account.gateway)
    if len(topics) == 1:
        client.subscribe_async(topics[0], subscription, configuration, answered)
    else:
        client.subscribe_async_topics(list(topics), subscription, configuration, answered)
    while wanted():
        try:
            result, consumer = answers.get(timeout=_CHECK_S)
        except queue.Empty:
            continue
        if result == _pulsar.Result.Ok:
            return consumer
        raise NotSubscribed(result.name)
    return None


class _Answer:
    """Takes the answer of a close; whoever holds no other reference sees when the client has let go of it."""

    __slots__ = ("__weakref__", "_answers")

    def __init__(self, answers: queue.SimpleQueue[_pulsar.Result]) -> None:
        self._answers = answers

    def __call__(self, result: _pulsar.Result) -> None:
        self._answers.put(result)


def close(opened: _pulsar.Consumer | _pulsar.Client, *, by: Callable[[], float]) -> str | None:
    """Close a subscription or the client; return what went wrong. Gives up at `by` on the monotonic clock.

    That is asked again and again: a stop of the account may make it earlier.
    """
    answers: queue.SimpleQueue[_pulsar.Result] = queue.SimpleQueue()
    answer = _Answer(answers)
    held_by_client = weakref.ref(answer)
    opened.close_async(answer)
    del answer
    while time.monotonic() < by():
        try:
            result = answers.get(timeout=_CHECK_S)
        except queue.Empty:
            continue
        # The client's thread needs the interpreter once more, to let go of the answer. Where the process has begun
        # to end by then, that thread is torn down inside C++, which aborts the process (measured: a quarter of exits).
        while held_by_client() is not None and time.monotonic() < by():
            time.sleep(_RELEASE_CHECK_S)
        return None if result == _pulsar.Result.Ok else result.name
    return "no answer in time"


class BatchLimits(Struct, frozen=True):
    """What a batch holds at most, and which one means that more wait.

    The pump looks at the caps before each batch and takes that whole, so it passes them by no more than a batch.
    """

    most_messages: int
    most_bytes: int

    @classmethod
    def of(cls, gateway: GatewaySettings) -> Self:
        """Return an account's. The client gives no more than it may fetch ahead, and takes a zero for no limit."""
        return cls(
            most_messages=min(
                BATCH_MESSAGES,
                gateway.receive_ahead_messages,
                max(1, gateway.max_unconfirmed_messages // BATCH_SHARE),
            ),
            most_bytes=max(1, gateway.max_unconfirmed_bytes // BATCH_SHARE),
        )

    def is_full(self, batch: Sequence[_pulsar.Message]) -> bool:
        """Whether more wait: it has half of the messages, or of the bytes, that it may have.

        Where each entry is one message, the shares of a topic's source partitions make less than all those messages.
        The client ends a batch before the message that would pass the bytes: one of more than half of them leaves less.
        """
        return (
            2 * len(batch) >= self.most_messages
            or 2 * sum(message.length() for message in batch) >= self.most_bytes
        )


def _consumer_configuration(gateway: GatewaySettings) -> _pulsar.ConsumerConfiguration:
    """No unacknowledged timeout and no negative acknowledgement: on Failover both redeliver the whole partition."""
    configuration = _pulsar.ConsumerConfiguration()
    configuration.consumer_type(_pulsar.ConsumerType.Failover)
    ahead = gateway.receive_ahead_messages
    # The second is for all source partitions of a topic, each of which gets its share; each topic, where there are
    # several. Pulsar counts entries where the client counts messages: what comes ahead is as many times more.
    configuration.receiver_queue_size(ahead)
    configuration.max_total_receiver_queue_size_across_partitions(ahead)
    limits = BatchLimits.of(gateway)
    configuration.batch_receive_policy(
        _pulsar.BatchReceivePolicy(limits.most_messages, limits.most_bytes, BATCH_WAIT_MS)
    )
    return configuration
