"""One process: Kafka is waited for, a fatal error ends it with its code, a stop ends within its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import msgspec
import pytest
import structlog
from aiokafka.errors import KafkaConnectionError, SaslAuthenticationFailed, UnknownError

from bridge.config import Configuration, HttpSettings, LogSettings
from bridge.daemon import Daemon
from bridge.exit_codes import ExitCode
from bridge.fold.policy import Policy
from bridge.kafka.reach import Outage
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import TopicsRefused
from bridge.logs import Redactor
from bridge.stages import OpenStages
from bridge.supervisor import Stage
from consumer.errors import NoAccountLeft
from consumer.secret import Secret


class Nothing(msgspec.Struct, frozen=True):
    """Statistics of a stage that counts nothing."""


class FakeStage:
    """Runs until the stop, or does what it is given."""

    def __init__(self, name: str, act: Callable[[], Awaitable[None]] | None = None) -> None:
        self.name = name
        self._act = act
        self.stopped_cleanly = False

    async def run(self, stop: asyncio.Event) -> None:
        if self._act is not None:
            await self._act()
        await stop.wait()
        self.stopped_cleanly = True

    def statistics(self) -> Nothing:
        return Nothing()


class Process:
    """A daemon made of fake stages, and what happened to what they share."""

    def __init__(
        self,
        *stages: FakeStage,
        check_topics: Callable[[], Awaitable[object]] | None = None,
        http: HttpSettings | None = None,
        stop_within_s: float = 60.0,
    ) -> None:
        self.stages = stages
        self.shared: list[str] = []
        self.outage: Outage | None = None
        self.daemon = Daemon(
            Configuration(
                kafka=KafkaSettings(bootstrap_servers="localhost:9092"),
                http=http or HttpSettings(port=0),
                log=LogSettings(),
                policy=Policy(),
                gateways=(),
                apis=(),
                warnings=("http.host = '0.0.0.0': the pages have no login",),
            ),
            names=[stage.name for stage in stages],
            stages=self._open(),
            check_topics=check_topics or self._topics_are_right,
            redact=Redactor([Secret("hunter2-hunter2")]),
            stop_within_s=stop_within_s,
            kafka_pauses_s=(0.0,),
        )

    async def _topics_are_right(self) -> None:
        return

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[OpenStages]:
        self.shared.append("opened")
        yield OpenStages(
            builders={stage.name: self._builder(stage) for stage in self.stages}, outage=lambda: self.outage
        )
        self.shared.append("closed")

    @staticmethod
    def _builder(stage: FakeStage) -> Callable[[], Stage]:
        return lambda: stage

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    def all_running(self) -> bool:
        states = [status.state for status in self.daemon.status().stages.values()]
        return len(states) == len(self.stages) and set(states) == {"running"}


async def status_of(daemon: Daemon) -> dict[str, Any]:
    async with httpx.AsyncClient() as http:
        return (await http.get(f"http://127.0.0.1:{daemon.port}/status")).json()


async def test_stop_lets_every_stage_finish_and_then_closes_what_they_share() -> None:
    process = Process(FakeStage("consumer"), FakeStage("fold"))
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)
    status = await status_of(process.daemon)
    assert status["kafka"]["state"] == "ready"
    assert {name: stage["state"] for name, stage in status["stages"].items()} == {
        "consumer": "running",
        "fold": "running",
    }
    assert status["warnings"]

    process.daemon.stop()

    assert await running == ExitCode.OK
    assert all(stage.stopped_cleanly for stage in process.stages)
    assert process.shared == ["opened", "closed"]


async def test_kafka_is_waited_for_and_status_says_so() -> None:
    answers = asyncio.Event()
    attempts = []

    async def check() -> None:
        attempts.append(1)
        if not answers.is_set():
            raise KafkaConnectionError("no answer, hunter2-hunter2")

    process = Process(FakeStage("fold"), check_topics=check)
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(process.daemon.run())
        await process.until(lambda: len(attempts) > 3)
    assert [line["event"] for line in lines].count("kafka_unreachable") == 1

    status = await status_of(process.daemon)
    kafka = status["kafka"]
    assert kafka["state"] == "unreachable"
    assert kafka["attempts"] >= 3
    assert "no answer" in kafka["last_error"]
    assert "hunter2" not in kafka["last_error"]
    assert kafka["last_error"].count("KafkaConnectionError") == 1
    assert {name: stage["state"] for name, stage in status["stages"].items()} == {"fold": "waiting"}
    assert process.shared == []

    answers.set()
    await process.until(process.all_running)
    assert process.daemon.status().kafka.state == "ready"
    process.daemon.stop()
    assert await running == ExitCode.OK


async def test_later_outage_of_kafka_is_shown_and_told_once_and_so_is_its_end() -> None:
    process = Process(FakeStage("fold"))
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)

    with structlog.testing.capture_logs() as lines:
        process.outage = Outage(since_ms=1_700_000_000_000, error="no answer, hunter2-hunter2")
        kafka = [(await status_of(process.daemon))["kafka"] for _ in range(3)][-1]
        process.outage = None
        back = (await status_of(process.daemon))["kafka"]

    assert (kafka["state"], kafka["unreachable_since_ms"]) == ("unreachable", 1_700_000_000_000)
    assert kafka["last_error"] == "no answer, ***"
    assert back["state"] == "ready"
    assert "last_error" not in back
    assert [line["event"] for line in lines] == ["kafka_unreachable", "kafka_ready"]
    process.daemon.stop()
    assert await running == ExitCode.OK


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(
        1, "certificate verify failed: unable to get local issuer certificate"
    )
    error.verify_code, error.verify_message = 20, "unable to get local issuer certificate"
    return error


@pytest.mark.parametrize(
    ("logged", "event", "says", "key"),
    [
        (
            untrusted(),
            "kafka_unreachable",
            "Kafka shows a certificate that comes from an authority not trusted here",
            "kafka.ca_file",
        ),
        (
            SaslAuthenticationFailed("Authentication failed: invalid credentials"),
            "kafka_refuses_credentials",
            "Kafka refuses the credentials",
            "kafka.password_file",
        ),
        (ConnectionRefusedError(111, "Connect call failed"), "kafka_unreachable", None, None),
    ],
)
@pytest.mark.parametrize("at_start", [True, False])
async def test_why_kafka_cannot_be_reached_is_what_its_library_only_logs(
    logged: Exception, event: str, says: str | None, key: str | None, *, at_start: bool
) -> None:
    tried, may_pass = 0, not at_start

    async def check() -> None:
        nonlocal tried
        if not may_pass:
            logging.getLogger("aiokafka").error('Unable connect to "%s:%s": %s', "kafka-1", 9093, logged)
            tried += 1
            raise KafkaConnectionError("Unable to bootstrap from [('kafka-1', 9093)]")

    process = Process(FakeStage("fold"), check_topics=check)
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(process.daemon.run())
        await process.until(process.all_running if may_pass else lambda: tried > 1)
        if not at_start:
            logging.getLogger("aiokafka").error('Unable connect to "%s:%s": %s', "kafka-1", 9093, logged)
            process.outage = Outage(since_ms=1_700_000_000_000, error="no answer")
        kafka = (await status_of(process.daemon))["kafka"]
        process.daemon.stop()
        await running

    (told,) = [line for line in lines if line["event"] in ("kafka_unreachable", "kafka_refuses_credentials")]
    assert kafka["state"] == "unreachable"
    assert kafka["last_error"] == told["error"]
    # Only what does not pass by itself is an alarm.
    assert told["event"] == event
    assert told["log_level"] == ("error" if event == "kafka_refuses_credentials" else "warning")
    if key is not None and says is not None:
        assert kafka["last_error"].startswith(says)
        assert "SSLCertVerificationError" not in kafka["last_error"]
        assert key in kafka["remedy"] == told["remedy"]
    else:
        # Later an outage is told by what the stages' own requests met.
        assert kafka["last_error"].startswith("ConnectionRefusedError" if at_start else "no answer")
        assert "remedy" not in kafka
        assert told["remedy"].startswith("check that Kafka runs")


async def test_a_broker_that_comes_back_and_refuses_the_credentials_is_told_once_beside_its_absence() -> None:
    process = Process(FakeStage("fold"))
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(process.daemon.run())
        await process.until(process.all_running)
        process.outage = Outage(since_ms=1_700_000_000_000, error="no answer")
        await status_of(process.daemon)
        refusal = SaslAuthenticationFailed("Authentication failed: invalid credentials")
        logging.getLogger("aiokafka").error('Unable connect to "%s:%s": %s', "kafka-1", 9093, refusal)
        for _ in range(3):
            await status_of(process.daemon)
        process.daemon.stop()
        await running

    told = [line["event"] for line in lines if line["event"].startswith("kafka_")]
    assert told == ["kafka_ready", "kafka_unreachable", "kafka_refuses_credentials"]


async def test_the_librarys_errors_are_no_alarm_while_the_bridge_says_that_kafka_is_away(
    caplog: pytest.LogCaptureFixture,
) -> None:
    process = Process(FakeStage("fold"))
    library = logging.getLogger("aiokafka.producer.sender")
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)

    library.error("Could not end transaction due to unexpected error: %s", UnknownError)
    process.outage = Outage(since_ms=1_700_000_000_000, error="no answer")
    await status_of(process.daemon)
    try:
        raise UnknownError("what was under way")
    except UnknownError:
        library.exception("Unexpected error in coordinator routine")
    process.outage = None
    await status_of(process.daemon)
    library.error("OffsetCommit failed for group %s", "ota-fold")
    process.daemon.stop()
    await running

    told = [record for record in caplog.records if record.name == library.name]
    assert [record.levelname for record in told] == ["ERROR", "WARNING", "WARNING"]
    assert told[1].exc_info is None
    assert told[1].getMessage().startswith("Unexpected error in coordinator routine: ")


async def test_stop_is_obeyed_while_kafka_does_not_answer() -> None:
    asked = asyncio.Event()

    async def check() -> None:
        asked.set()
        await asyncio.Event().wait()

    process = Process(FakeStage("fold"), check_topics=check)
    running = asyncio.create_task(process.daemon.run())
    await asked.wait()

    process.daemon.stop()

    assert await running == ExitCode.OK
    assert process.shared == []


async def test_wrong_topic_ends_the_process_before_any_stage() -> None:
    async def check() -> None:
        raise TopicsRefused(
            ["topic ota.upgrade-state.v1 has cleanup.policy=delete, the bridge needs compact"]
        )

    process = Process(FakeStage("fold"), check_topics=check)

    assert await process.daemon.run() == ExitCode.USAGE
    assert process.shared == []


async def test_no_account_left_ends_the_process_and_stops_the_other_stages_cleanly() -> None:
    both_run = asyncio.Event()

    async def refuse() -> None:
        await both_run.wait()
        raise NoAccountLeft(["tuya-demo"])

    process = Process(FakeStage("consumer", refuse), FakeStage("fold"))
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)
    both_run.set()

    assert await running == ExitCode.REFUSED
    assert process.stages[1].stopped_cleanly
    assert process.shared == ["opened", "closed"]


async def test_stage_that_ignores_the_stop_does_not_hold_the_process_beyond_the_deadline() -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    process = Process(FakeStage("consumer", hang), FakeStage("fold"), stop_within_s=0.05)
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)

    process.daemon.stop()

    assert await running == ExitCode.UNEXPECTED
    assert process.stages[1].stopped_cleanly


async def test_taken_port_is_a_mistake_of_the_configuration() -> None:
    first = Process()
    running = asyncio.create_task(first.daemon.run())
    await first.until(lambda: first.daemon.port is not None)
    assert first.daemon.port is not None

    second = Process(http=HttpSettings(port=first.daemon.port))

    with structlog.testing.capture_logs() as lines:
        assert await second.daemon.run() == ExitCode.USAGE
    assert lines[0]["remedy"].startswith("set http.port")
    first.daemon.stop()
    await running


@pytest.mark.parametrize("host", ["nohost!", "no..host", "192.0.2.1"])
async def test_a_host_that_is_no_address_of_this_machine_is_named_as_the_mistake(host: str) -> None:
    process = Process(http=HttpSettings(host=host, port=0))

    with structlog.testing.capture_logs() as lines:
        assert await process.daemon.run() == ExitCode.USAGE

    assert lines[0]["event"] == "http_not_bound"
    assert lines[0]["remedy"].startswith("set http.host")


@pytest.mark.parametrize("reason", [ExitCode.USAGE, ExitCode.REFUSED])
async def test_first_reason_to_stop_gives_the_exit_code(reason: ExitCode) -> None:
    process = Process(FakeStage("fold"))
    running = asyncio.create_task(process.daemon.run())
    await process.until(process.all_running)

    process.daemon.stop(reason)
    process.daemon.stop()

    assert await running == reason
