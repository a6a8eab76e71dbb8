"""What the reading commands share: a consumer without a group, and Kafka's failures as sentences."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from bridge.cli.failure import CommandFailed, is_out_of_room
from bridge.cli.options import DEFAULT_CONFIG
from bridge.cli.remedies import remedy_for_command
from bridge.config import load_accounts, load_kafka
from bridge.config.problems import ConfigurationError
from bridge.error_text import error_text
from bridge.exit_codes import ExitCode
from bridge.kafka.clients import client_arguments, consumer_arguments
from bridge.kafka.library_reasons import LibraryReasons
from bridge.kafka.refusals import problem_of_certificate, remedy_of_refusal
from bridge.kafka.settings import KafkaSettings

T = TypeVar("T")

_REFUSALS: Final = (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)


def kafka_settings(config: Path) -> KafkaSettings:
    """Return the `[kafka]` table of a configuration file.

    Only the file that nobody named may be missing, where the environment says what is needed: a command with a
    misspelt `-c` must not read another Kafka.
    """
    return load_kafka(config, optional_file=config == DEFAULT_CONFIG)


def account_names(config: Path) -> frozenset[str]:
    """Return the accounts that a configuration names, as far as it can be read; none where it has only `[kafka]`."""
    try:
        return frozenset(
            account.name for account in load_accounts(config, optional_file=config == DEFAULT_CONFIG)
        )
    except ConfigurationError:
        return frozenset()


def run_with_kafka(settings: KafkaSettings, work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work; a broker that does not answer is told in one sentence."""
    reasons = LibraryReasons()
    try:
        with reasons.heard(alone=True), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    except (KafkaError, OSError, TimeoutError) as error:
        if isinstance(error, BrokenPipeError) or is_out_of_room(error):
            raise
        told = reasons.cause_of(error)
        where = f"Kafka at {settings.bootstrap_servers}"
        if isinstance(told, _REFUSALS):
            remedy = remedy_of_refusal(told) or "check kafka.security, the credentials, and what they may do"
            raise CommandFailed(
                ExitCode.REFUSED,
                f"{where} refuses ({error_text(told)}). Remedy: {remedy_for_command(remedy)}.",
            ) from error
        if isinstance(told, ssl.SSLCertVerificationError):
            problem, remedy = problem_of_certificate(told)
            raise CommandFailed(
                ExitCode.UNREACHABLE,
                f"{where} shows a certificate that {problem}. Remedy: {remedy_for_command(remedy)}.",
            ) from error
        raise CommandFailed(
            ExitCode.UNREACHABLE,
            f"{where} does not answer ({error_text(told)}). Check that it runs, and kafka.bootstrap_servers,"
            " kafka.security and the credentials.",
        ) from error


async def partitions_of(settings: KafkaSettings, topic: str) -> int:
    """Return how many partitions a topic has.

    All topics are asked for: a request that names a missing topic may create it, with wrong settings.
    """
    admin = AIOKafkaAdminClient(**client_arguments(settings))
    try:
        await admin.start()
        partitions = {found["topic"]: len(found["partitions"]) for found in await admin.describe_topics()}
    finally:
        await admin.close()
    if topic not in partitions:
        raise CommandFailed(
            ExitCode.DATA, f"There is no topic {topic}. Start the bridge, or run `ota-bridge topics create`."
        )
    return partitions[topic]


@contextlib.asynccontextmanager
async def open_reader(settings: KafkaSettings, topic: str) -> AsyncIterator[tuple[AIOKafkaConsumer, int]]:
    """Yield a consumer for the caller to assign, and the topic's number of partitions."""
    partitions = await partitions_of(settings, topic)
    consumer = AIOKafkaConsumer(**consumer_arguments(settings))
    try:
        await consumer.start()
        yield consumer, partitions
    finally:
        await consumer.stop()


async def ends_of(consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """Return the end of each assigned partition that still has records before it."""
    ends = await consumer.end_offsets(consumer.assignment())
    return {partition: end for partition, end in ends.items() if await consumer.position(partition) < end}
