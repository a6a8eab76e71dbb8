"""Logs never show a secret, whoever writes them and in whatever form."""

from __future__ import annotations

import errno
import io
import json
import logging
import ssl
import warnings
from collections.abc import Iterator

import pytest
import structlog
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    NodeNotReadyError,
    NotEnoughReplicasError,
    NotLeaderForPartitionError,
    RequestTimedOutError,
    UnknownError,
)

from bridge.config import LogSettings
from bridge.library_lines import REPEATED_AFTER_S, LeaderComes, Throttle
from bridge.logs import Redactor, configure_logs
from consumer.secret import Secret
from tests.restored_logging import restored_logging

KEY = 'k"ey\\with-specials'


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    with restored_logging():
        yield


def test_what_kafka_answers_in_every_transaction_is_not_told_but_other_errors_are() -> None:
    stream = configured("json")
    sender = logging.getLogger("aiokafka.producer.sender")

    sender.warning("Got error produce response on %s, retrying. Error: %s", "t-0", NotEnoughReplicasError)
    sender.warning("Got error produce response on %s, retrying. Error: %s", "t-0", RequestTimedOutError)

    (line,) = stream.getvalue().splitlines()
    assert "RequestTimedOut" in line


class FullDisk(io.StringIO):
    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_lines_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(LogSettings(format="json"), Redactor(()), FullDisk())

    structlog.get_logger("bridge").warning("told")
    logging.getLogger("aiokafka").warning("told as well")

    assert capsys.readouterr().err == ""


def test_a_broker_that_is_away_is_a_warning_so_that_errors_are_alarms() -> None:
    stream = configured("json")

    logging.getLogger("aiokafka").error('Unable connect to "%s:%s": %s', "127.0.0.1", 1, OSError("refused"))

    assert json.loads(stream.getvalue())["level"] == "warning"


@pytest.mark.parametrize(("level", "told"), [("info", []), ("debug", ["debug", "debug"])])
def test_coordinator_that_is_still_coming_is_no_error_line_but_one_that_refuses_is(
    level: str, told: list[str]
) -> None:
    stream = configured("json", level)
    library = logging.getLogger("aiokafka.consumer.group_coordinator")

    library.error("Group Coordinator Request failed: %s", GroupCoordinatorNotAvailableError())
    library.warning("Marking the coordinator dead (node %s)for group %s.", 1, "ota-fold")
    library.error("Group Coordinator Request failed: %s", UnknownError())

    levels = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    # The throttle hears both as the same message: the refusal is told first where the other was filtered.
    assert levels == (told or ["error"])


@pytest.mark.parametrize(
    ("library", "awaited", "other"),
    [
        ("aiokafka.consumer.fetcher", NotLeaderForPartitionError("t-0"), UnknownError()),
        ("aiokafka.producer.sender", NotLeaderForPartitionError, RequestTimedOutError),
    ],
)
def test_partition_whose_leader_is_coming_is_not_told_but_one_that_stays_without_is(
    library: str, awaited: object, other: object
) -> None:
    now_s = 0.0
    leader_comes = LeaderComes(lambda: now_s)

    def is_told(error: object) -> bool:
        return leader_comes.filter(
            logging.LogRecord(library, 40, "", 0, "Trouble at %s: %s", (1, error), None)
        )

    # Topics are made, and much later one's leader is lost for good.
    for began_s in (0.0, 1000.0):
        for passed_s in range(10):
            now_s = began_s + passed_s
            assert not is_told(awaited)
            assert is_told(other)
    now_s += 2
    assert is_told(awaited)


def configured(log_format: str, level: str = "info", *secrets: str) -> io.StringIO:
    stream = io.StringIO()
    settings = LogSettings(format=log_format, level=level)  # type: ignore[arg-type]
    configure_logs(settings, Redactor(map(Secret, secrets)), stream)
    return stream


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_secret_is_starred_in_values_and_tracebacks_of_any_logger(log_format: str) -> None:
    stream = configured(log_format, "info", KEY)
    try:
        raise ValueError(f"refused: {KEY}")
    except ValueError:
        structlog.get_logger().exception("failed", password=KEY, nested={"key": [KEY]})
        logging.getLogger("library").exception("failed with %s", KEY)

    text = stream.getvalue()
    assert text.count("ValueError") >= 2
    assert "with-specials" not in text
    assert "***" in text


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_traceback_shows_no_variables(log_format: str) -> None:
    stream = configured(log_format)
    hidden = "value-of-a-" + "local-variable"
    try:
        raise KeyError(len(hidden))
    except KeyError:
        structlog.get_logger().exception("failed")

    assert "value-of-a-local-variable" not in stream.getvalue()


def test_query_of_a_url_is_starred() -> None:
    stream = configured("json")

    structlog.get_logger().info(
        "asked", url="https://host:8443/v1.0/token?grant_type=1&sign=ABCDEF", status=200
    )

    assert json.loads(stream.getvalue())["url"] == "https://host:8443/v1.0/token?***"
    assert json.loads(stream.getvalue())["status"] == 200


def test_longer_secret_is_starred_whole() -> None:
    assert Redactor([Secret("abcd"), Secret("abcdefgh")])("key abcdefgh.") == "key ***."


def test_secret_object_is_starred_even_when_unknown() -> None:
    stream = configured("json")

    structlog.get_logger().info("made", key=Secret("unknown-to-the-redactor"))

    assert "unknown-to-the-redactor" not in stream.getvalue()


def test_json_lines_have_time_level_and_event() -> None:
    stream = configured("json")

    structlog.get_logger().warning("kafka_unreachable", retry_in_s=1.0)
    logging.getLogger("aiokafka.conn").error("closed")

    own, library = map(json.loads, stream.getvalue().splitlines())
    assert (own["level"], own["event"], own["retry_in_s"]) == ("warning", "kafka_unreachable", 1.0)
    assert own["timestamp"].endswith("Z")
    assert (library["level"], library["event"], library["logger"]) == ("error", "closed", "aiokafka.conn")


@pytest.mark.parametrize(
    ("template", "arguments"),
    [
        ('Unable connect to "%s:%s": %s', ("localhost", 9092, "refused")),
        ("Unable to update metadata from %s", ([1],)),
        ("Error sending %s to node %s [%s] -- marking coordinator dead", ("Fetch", 1, "closed")),
        ("Heartbeat send request failed: %s. Will retry.", ("closed",)),
    ],
)
def test_a_broker_that_is_away_is_no_alarm_of_the_librarys(
    template: str, arguments: tuple[object, ...]
) -> None:
    stream = configured("json")

    logging.getLogger("aiokafka.client").error(template, *arguments)

    assert json.loads(stream.getvalue())["level"] == "warning"


@pytest.mark.parametrize(
    ("library", "template", "arguments"),
    [
        (
            "aiokafka.consumer.group_coordinator",
            "Group Coordinator Request failed: %s",
            (NodeNotReadyError(),),
        ),
        ("aiokafka.producer.sender", "FindCoordinator Request failed: %s", (NodeNotReadyError("closed"),)),
        (
            "aiokafka.producer.sender",
            "Unexpected error during InitProducerIdRequest: %s",
            (RequestTimedOutError,),
        ),
        ("aiokafka.consumer.fetcher", "Failed fetch offsets from %s: %s", (1, TimeoutError())),
    ],
)
def test_what_only_says_that_nobody_answered_is_no_alarm_whatever_line_it_is_in(
    library: str, template: str, arguments: tuple[object, ...]
) -> None:
    stream = configured("json")

    logging.getLogger(library).error(template, *arguments)

    assert json.loads(stream.getvalue())["level"] == "warning"


def test_a_certificate_is_told_by_what_is_wrong_with_it_not_by_openssls_source() -> None:
    stream = configured("json")
    error = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] verify failed (_ssl.c:1006)")
    error.verify_code, error.verify_message = 62, "Hostname mismatch"

    logging.getLogger("aiokafka").error('Unable connect to "%s:%s": %s', "kafka-1", 9093, error)

    told = json.loads(stream.getvalue())["event"]
    assert told == 'Unable connect to "kafka-1:9093": Kafka shows a certificate that is for another host name'


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (
            "asyncio",
            "Exception in callback <function MessageAccumulator.add.<locals>.cb at 0x{address:x}>\nhandle: <Handle cb>",
        ),
        ("aiokafka.producer.sender", "Unexpected error in sender routine"),
    ],
)
def test_an_outage_fills_no_screens_with_what_the_library_had_still_under_way(
    library: str, message: str
) -> None:
    stream = configured("json")

    for address in range(0x7F3B00000000, 0x7F3B00000050):
        try:
            raise KeyError(f"a batch at {address:#x}")
        except KeyError:
            logging.getLogger(library).exception(message.format(address=address))

    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["level"] == "warning"
    assert line["event"].endswith(": KeyError: 'a batch at 0x7f3b00000000'")
    assert "\n" not in line["event"]
    assert "exception" not in line


def test_other_callbacks_that_fail_are_errors_with_their_traceback() -> None:
    stream = configured("json")

    try:
        raise KeyError("ours")
    except KeyError:
        logging.getLogger("asyncio").exception("Exception in callback <function Fold.run at 0x7f3b00000000>")

    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert "Traceback" in line["exception"]


def test_level_holds_for_everybody_and_chatty_libraries_stay_quiet() -> None:
    stream = configured("json", "info")

    structlog.get_logger().debug("not shown")
    logging.getLogger("library").debug("not shown")
    logging.getLogger("httpx").info("HTTP Request: GET https://host/?sign=1")
    logging.getLogger("library").info("shown")

    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["shown"]


def test_auto_means_json_without_a_terminal() -> None:
    stream = configured("auto")

    structlog.get_logger().info("started")

    assert json.loads(stream.getvalue())["event"] == "started"


def test_library_that_repeats_itself_is_heard_now_and_then() -> None:
    now = 0.0
    throttle = Throttle(lambda: now)

    def said(message: str, *arguments: object) -> str | None:
        record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, message, arguments, None)
        return record.getMessage() if throttle.filter(record) else None

    assert said("no node %s", 1) == "no node 1"
    assert said("no node %s", 2) is None
    assert said("no metadata") == "no metadata"
    assert said("no node %s", 3) is None
    now += REPEATED_AFTER_S
    assert said("no node %s", 4) == "no node 4 (and 2 more like this)"
    now += REPEATED_AFTER_S
    assert said("no node %s", 5) == "no node 5"
    assert said("Exception in callback <function f at 0x7f3b1>") is not None
    assert said("Exception in callback <function f at 0x7f3b2>") is None


def test_warnings_are_logged() -> None:
    stream = configured("json")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old setting", UserWarning, stacklevel=1)

    assert "old setting" in stream.getvalue()
