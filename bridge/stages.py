"""Builds the stages from the configuration, with what they share. A stage's code is imported only where it runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Literal, get_args

from msgspec import Struct

from bridge.config.settings import Configuration
from bridge.exit_codes import ExitCode
from bridge.kafka.reach import Outage, Reach
from bridge.supervisor import FatalErrors, Stage
from consumer.errors import Misconfigured, NoAccountLeft
from consumer.sink import Sink

StageName = Literal["consumer", "fold", "reconcile"]

STAGES: Final[tuple[StageName, ...]] = get_args(StageName)

FATAL: Final[FatalErrors] = {NoAccountLeft: ExitCode.REFUSED, Misconfigured: ExitCode.USAGE}
"""What ends the process, whichever stage says it; every other error restarts only that stage."""


class OpenStages(Struct, frozen=True, kw_only=True):
    """What builds each stage, and the statistics of what they share."""

    builders: Mapping[str, Callable[[], Stage]]
    shared: Mapping[str, Callable[[], Struct]] = {}
    outage: Callable[[], Outage | None] = lambda: None
    """What the stages' clients found out about Kafka."""


def stages_with_work(configuration: Configuration, names: Sequence[StageName]) -> tuple[StageName, ...]:
    """Return which of the named stages will run.

    A stage for which the configuration has no account is left out: without a gateway nothing is pushed, without an
    API nothing can be asked.
    """
    idle: set[StageName] = set()
    if not configuration.gateways:
        idle.add("consumer")
    if not configuration.apis:
        idle.add("reconcile")
    return tuple(name for name in STAGES if name in names and name not in idle)


@contextlib.asynccontextmanager
async def open_stages(configuration: Configuration, names: Sequence[StageName]) -> AsyncIterator[OpenStages]:
    """Yield what builds each of the named stages, and close what they share when all have stopped."""
    reach = Reach()
    builders: dict[str, Callable[[], Stage]] = {}
    if "fold" in names:
        builders["fold"] = _fold(configuration, reach)
    if "consumer" not in names and "reconcile" not in names:
        yield OpenStages(builders=builders, outage=reach.outage)
        return

    from bridge.kafka.producer import start_producer
    from bridge.kafka.writer import KafkaWriter

    start = functools.partial(start_producer, reach=reach)
    async with KafkaWriter(configuration.kafka, start=start) as writer:
        if "consumer" in names:
            builders["consumer"] = _consumer(configuration, writer)
        if "reconcile" in names:
            builders["reconcile"] = _reconcile(configuration, writer, reach)
        yield OpenStages(builders=builders, shared={"writer": writer.statistics}, outage=reach.outage)


def _consumer(configuration: Configuration, sink: Sink) -> Callable[[], Stage]:
    from bridge.kafka.progress_reader import KafkaProgress
    from consumer.ingest import Ingest

    # An account that is only asked and swept goes on, whatever the gateway refuses to others.
    is_all = {account.name for account in configuration.apis} <= {
        account.name for account in configuration.gateways
    }
    return lambda: Ingest(
        configuration.gateways, sink, past=KafkaProgress(configuration.kafka), is_all=is_all
    )


def _fold(configuration: Configuration, reach: Reach) -> Callable[[], Stage]:
    from bridge.fold.stage import Fold

    rates = {account.name: account.api.rate_per_s for account in configuration.apis}
    return lambda: Fold(configuration.kafka, configuration.policy, lookup_rates=rates, reach=reach)


def _reconcile(configuration: Configuration, sink: Sink, reach: Reach) -> Callable[[], Stage]:
    from bridge.reconcile.worker import Reconcile

    return lambda: Reconcile(configuration.apis, configuration.kafka, sink, reach=reach)
