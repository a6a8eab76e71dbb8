"""The daemon: Kafka's topics first, then the stages under their supervisors, the pages beside them, one orderly stop.

The path of a process: 1. bind the pages; 2. wait for Kafka and check the topics; 3. run the stages; 4. on SIGTERM,
SIGINT or a fatal error ask everything to stop; 5. end within one deadline with the documented exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import structlog
import uvloop
from msgspec import Struct

from bridge.config.settings import Configuration
from bridge.dead_letter_watch import DeadLetterWatch
from bridge.exit_codes import ExitCode
from bridge.garbage import collect_seldom
from bridge.http import HttpServer, LoopLag, Pages
from bridge.kafka.clients import client_arguments
from bridge.kafka.reach import Outage
from bridge.kafka.topics import TopicsRefused, ensure_topics
from bridge.kafka_watch import PAUSES_S, KafkaWatch
from bridge.logs import Redactor
from bridge.stages import FATAL, OpenStages, StageName, open_stages, stages_with_work
from bridge.status import AccountStatus, Status
from bridge.stopping import stopped_within
from bridge.supervisor import StageStatus, Supervisor
from bridge.version import VERSION

log = structlog.get_logger(__name__)

STOP_WITHIN_S: Final = 25.0
"""From the signal to the end: below the 30 s after which Kubernetes kills."""

LAST_RESORT_S: Final = 3.0
"""This long after the deadline a process that still hangs ends itself, showing where it hung."""

WATCH_S: Final = 1.0
"""How late an outage of Kafka, its end, or a dead letter is logged; `/status` looks itself."""


class Daemon:
    """One process of the bridge.

    `names` are the stages that will run; `stages` opens what they share and yields what builds each; `check_topics`
    is awaited until it passes.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        names: Sequence[str],
        stages: AbstractAsyncContextManager[OpenStages],
        check_topics: Callable[[], Awaitable[object]],
        redact: Redactor,
        stop_within_s: float = STOP_WITHIN_S,
        kafka_pauses_s: Sequence[float] = PAUSES_S,
    ) -> None:
        self._configuration = configuration
        self._names = names
        self._stages = stages
        self._check_topics = check_topics
        self._stop_within_s = stop_within_s
        self._stop = asyncio.Event()
        self._exit_code = ExitCode.OK
        self._supervisors: list[Supervisor] = []
        self._shared: Mapping[str, Callable[[], Struct]] = {}
        self._outage: Callable[[], Outage | None] = lambda: None
        self._dead_letters = DeadLetterWatch()
        self._working = False
        self._started_at_ms = time.time_ns() // 1_000_000
        self._began = time.monotonic()
        self._kafka = KafkaWatch(configuration.kafka.bootstrap_servers, redact, pauses_s=kafka_pauses_s)
        self.port: int | None = None
        """Where the pages are, once they are bound."""

    def stop(self, exit_code: ExitCode = ExitCode.OK) -> None:
        """Ask everything to stop; the first reason gives the exit code."""
        if not self._stop.is_set():
            self._exit_code = exit_code
            self._stop.set()

    async def run(self) -> ExitCode:
        """Run until asked to stop, or until an error ends the process; return the exit code."""
        lag = LoopLag()
        server = HttpServer(
            self._configuration.http,
            Pages(
                lag=lag,
                alive=lambda: self._working,
                status=self.status,
                show_status=self._configuration.http.status,
            ),
        )
        try:
            self.port = server.bind()
        except (OSError, UnicodeError) as error:
            http = self._configuration.http
            log.error(
                "http_not_bound",
                host=http.host,
                port=http.port,
                error=str(error),
                remedy="set http.host to an address of this machine, such as 127.0.0.1"
                if _is_of_the_host(error)
                else "set http.port to a free port, or to 0",
            )
            return ExitCode.USAGE
        try:
            async with asyncio.timeout(None) as deadline, asyncio.TaskGroup() as group:
                group.create_task(server.run(), name="http")
                lag_task = group.create_task(lag.run(), name="loop_lag")
                deadline_task = group.create_task(self._end_by(deadline), name="deadline")
                try:
                    self._working = True
                    with self._kafka.reasons.heard():
                        await self._work()
                finally:
                    self._working = False
                    self.stop()
                    server.stop()
                    lag_task.cancel()
                    deadline_task.cancel()
        except TimeoutError:
            log.error(
                "stop_too_slow",
                deadline_s=self._stop_within_s,
                stages=self._unfinished(),
                remedy="none needed, what was under way comes again at the next start; where Kafka answered, report it",
            )
            return ExitCode.UNEXPECTED
        finally:
            server.close()
        log.info("stopped", exit_code=int(self._exit_code))
        return self._exit_code

    async def _work(self) -> None:
        if not await self._topics_ready():
            return
        async with self._stages as opened, asyncio.TaskGroup() as group:
            self._shared, self._outage = opened.shared, opened.outage
            self._supervisors = [
                Supervisor(name, build, fatal=FATAL) for name, build in sorted(opened.builders.items())
            ]
            for supervisor in self._supervisors:
                group.create_task(self._supervise(supervisor), name=supervisor.name)
            if self._supervisors:
                group.create_task(self._watch(), name="watch")

    async def _supervise(self, supervisor: Supervisor) -> None:
        code = await supervisor.run(self._stop)
        if code is not None:
            self.stop(code)

    async def _topics_ready(self) -> bool:
        """Wait until Kafka answers and has our topics; False when the process is to stop instead."""
        try:
            return await self._kafka.until_ready(self._check_topics, self._stop)
        except TopicsRefused as refused:
            for problem in refused.problems:
                log.error("topic_refused", problem=problem)
            self.stop(ExitCode.USAGE)
            return False

    async def _watch(self) -> None:
        """Tell, once each, that Kafka went away and that it is back; what is asked of it the stages ask anyway.

        And tell of dead letters, so that nobody has to look for them.
        """
        while not await stopped_within(self._stop, WATCH_S):
            self._look_at_kafka()
            self._dead_letters.look(
                {supervisor.name: supervisor.status().statistics for supervisor in self._supervisors}
            )

    def _look_at_kafka(self) -> None:
        if self._supervisors:
            self._kafka.look(self._outage())

    async def _end_by(self, deadline: asyncio.Timeout) -> None:
        await self._stop.wait()
        log.info("stopping", deadline_s=self._stop_within_s, stages=self._unfinished())
        deadline.reschedule(asyncio.get_running_loop().time() + self._stop_within_s)

    def _unfinished(self) -> list[str]:
        return [
            supervisor.name
            for supervisor in self._supervisors
            if supervisor.state not in ("stopped", "failed")
        ]

    def status(self) -> Status:
        """Return what `/status` shows."""
        self._look_at_kafka()
        configuration = self._configuration
        gateways = {account.name: account.cloud for account in configuration.gateways}
        apis = {account.name: account.cloud for account in configuration.apis}
        return Status(
            version=VERSION,
            started_at_ms=self._started_at_ms,
            uptime_s=round(time.monotonic() - self._began, 1),
            stopping=self._stop.is_set(),
            warnings=configuration.warnings,
            kafka=self._kafka.status,
            accounts={
                name: AccountStatus(cloud=cloud, gateway=name in gateways, api=name in apis)
                for name, cloud in sorted((gateways | apis).items())
            },
            stages={name: StageStatus(state="waiting", restarts=0) for name in self._names}
            | {supervisor.name: supervisor.status() for supervisor in self._supervisors},
            shared={name: statistics() for name, statistics in self._shared.items()},
        )


def _is_of_the_host(error: OSError | UnicodeError) -> bool:
    """Whether an address cannot be taken for its host: no such name, not even the form of one, or another machine's."""
    if isinstance(error, socket.gaierror | UnicodeError):
        return True
    return error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def run_daemon(configuration: Configuration, stages: Sequence[StageName], redact: Redactor) -> ExitCode:
    """Run one process until it is asked to stop, in an event loop of its own."""
    collect_seldom()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_run(configuration, stages, redact))
    except Exception:
        # The process ends: what it had not confirmed and committed is delivered again to the next one.
        log.exception("unexpected", remedy="this is a defect, please report it with this line")
        return ExitCode.UNEXPECTED
    finally:
        faulthandler.cancel_dump_traceback_later()


async def _run(configuration: Configuration, names: Sequence[StageName], redact: Redactor) -> ExitCode:
    try:
        client_arguments(configuration.kafka)
    except OSError as error:
        log.error(
            "kafka_ca_file_unusable",
            error=str(error),
            remedy="kafka.ca_file wants a PEM file of certificates",
        )
        return ExitCode.USAGE
    names = stages_with_work(configuration, names)
    daemon = Daemon(
        configuration,
        names=names,
        stages=open_stages(configuration, names),
        check_topics=lambda: ensure_topics(configuration.kafka),
        redact=redact,
    )
    try:
        async with _signals(daemon):
            log.info(
                "starting",
                version=VERSION,
                stages=list(names),
                accounts=list(configuration.account_names()),
                kafka=configuration.kafka.bootstrap_servers,
            )
            for warning in configuration.warnings:
                log.warning("protection_off", setting=warning)
            return await daemon.run()
    finally:
        # What is left is to close the loop, which waits for threads: a hanging one must not keep the process.
        faulthandler.dump_traceback_later(LAST_RESORT_S, exit=True)


@contextlib.asynccontextmanager
async def _signals(daemon: Daemon) -> AsyncIterator[None]:
    """Stop the daemon on SIGTERM and SIGINT. A stop that hangs, or a second signal, ends the process at once."""
    loop = asyncio.get_running_loop()

    def handle(number: signal.Signals) -> None:
        log.info("signal_received", signal=number.name)
        faulthandler.dump_traceback_later(STOP_WITHIN_S + LAST_RESORT_S, exit=True)
        daemon.stop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, handle, each)
    try:
        yield
    finally:
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
