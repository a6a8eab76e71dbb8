"""A baseline asks about every device once, goes on where it was, and ends when all have an answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import msgspec
import pytest

from bridge.cli import run_command
from bridge.cli.baseline import _Bar
from bridge.cli.baseline_course import AGAIN_AFTER_S, ASKED_FOR_S, FEWEST_UNDER_WAY, FOR_GOOD, STOPPED, Course
from bridge.cli.baseline_records import hint_record, lookup_record
from bridge.cli.baseline_run import Baseline
from bridge.cli.failure import CommandFailed
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from schemas import LookupRequest, Observation, ObservedEvidence
from tests.enos_model import enos_account


def course_of(devices: int, rate_per_s: float = 1.0) -> Course:
    course = Course(rate_per_s)
    for number in range(devices):
        course.add(f"d{number}")
    return course


def test_no_more_are_under_way_than_the_rate_serves_in_half_a_minute() -> None:
    course = course_of(500, rate_per_s=4.0)

    assert len(course.take(0)) == 120
    assert course.take(1) == []
    for number in range(10):
        course.answered(f"d{number}", "ok", None, 2)
    assert course.take(3) == [f"d{number}" for number in range(120, 130)]


def test_every_device_is_asked_about_once_and_all_answers_end_it() -> None:
    course = course_of(100)
    asked: list[str] = []
    while taken := course.take(0):
        asked += taken
        for device_id in taken:
            assert not course.is_over
            course.answered(device_id, "ok", None, 0)

    assert sorted(asked) == sorted(f"d{number}" for number in range(100))
    assert course.is_over
    assert course.outcomes == {"ok": 100}


def test_a_device_named_twice_counts_once() -> None:
    course = course_of(2)
    course.add("d0")
    course.add_asked("d1", 0)

    assert (course.devices, course.take(0)) == (2, ["d0", "d1"])


def test_a_device_that_an_interrupted_run_has_asked_about_is_not_asked_again() -> None:
    course = Course(1.0)
    course.answered("d0", "ok", None, 0)
    assert (course.devices, course.done) == (0, 0), "what is not of this baseline does not count"

    course.add("d0")
    course.add("d1")

    assert (course.devices, course.done) == (2, 1)
    assert course.take(0) == ["d1"]


def test_a_device_that_the_listing_found_is_asked_about_by_the_bridge() -> None:
    course = Course(1.0)
    course.add_asked("new", 0)

    assert course.take(0) == []
    assert not course.is_over
    course.answered("new", "ok", None, 1)
    assert course.is_over


@pytest.mark.parametrize("error", sorted(FOR_GOOD))
def test_an_error_of_the_device_is_its_answer(error: str) -> None:
    course = course_of(1)
    course.take(0)
    course.answered("d0", "unavailable", error, 0)

    assert course.is_over
    assert course.outcomes == {error: 1}


@pytest.mark.parametrize("error", [None, "retry", "throttled", "quota", "token", *sorted(STOPPED)])
def test_an_error_of_the_cloud_is_none_and_the_device_is_asked_about_later(error: str | None) -> None:
    course = course_of(1)
    course.take(0)
    course.answered("d0", "unavailable", error, 1000)

    assert not course.is_over
    assert course.take(1000 + round(AGAIN_AFTER_S * 1000) - 1) == []
    assert course.take(1000 + round(AGAIN_AFTER_S * 1000)) == ["d0"]


def test_a_question_that_nobody_answered_is_asked_again_when_it_has_expired() -> None:
    course = course_of(1)
    course.take(0)

    assert course.take(round(ASKED_FOR_S * 1000) - 1) == []
    assert course.take(round(ASKED_FOR_S * 1000)) == ["d0"]


def test_a_late_answer_ends_the_wait_for_the_second_one() -> None:
    course = course_of(1)
    course.take(0)
    course.answered("d0", "unavailable", "retry", 0)
    course.answered("d0", "ok", None, 10)

    assert course.is_over
    assert course.take(round(AGAIN_AFTER_S * 1000)) == []


def test_a_device_that_is_gone_is_answered() -> None:
    course = course_of(FEWEST_UNDER_WAY)
    for device_id in course.take(0):
        course.answered(device_id, "not_found", "not_found", 0)

    assert course.outcomes == {"not_found": FEWEST_UNDER_WAY}


CONFIGURATION = """
[kafka]
bootstrap_servers = "127.0.0.1:1"

[accounts.plants]
cloud = "enos"
app_key = "k"
app_secret_file = "secret.txt"
org_id = "o"

[accounts.plants.api]
url = "https://localhost:1"

[accounts.pushes]
cloud = "tuya-cloud"
access_id = "i"
access_key_file = "secret.txt"

[accounts.pushes.gateway]
url = "pulsar+ssl://localhost:1"
subscription = "s"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("a-secret-of-many-characters", encoding="utf-8")
    file = tmp_path / "ota-bridge.toml"
    file.write_text(CONFIGURATION, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nobody"], "There is no account nobody in the configuration. There are: plants, pushes."),
        (["pushes"], "Account pushes has no table [accounts.pushes.api]"),
        (["plants", "--devices", "missing.txt"], "missing.txt cannot be read"),
        (["plants", "--since", "soon"], "--since soon is neither"),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    config: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["baseline", *arguments, "-c", str(config)]) == ExitCode.USAGE
    assert told in capsys.readouterr().err


def test_a_file_without_devices_is_not_what_it_should_be(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "ids.txt").write_text("# none yet\n\n", encoding="utf-8")

    code = run_command(["baseline", "plants", "-c", str(config), "--devices", str(config.parent / "ids.txt")])

    assert code == ExitCode.DATA
    assert "names no device" in capsys.readouterr().err


def run_of(course: Course, device_ids: list[str] | None = None) -> Baseline:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1")
    return Baseline(settings, enos_account(), course, began_ms=0, device_ids=device_ids)


def seen(baseline: Baseline, kind: str, device_id: str = "", **fields: Any) -> bool:
    evidence = ObservedEvidence(origin="sweep", name=fields.pop("name", "x"))
    observation = Observation(
        device_id=device_id,
        cloud="enos",
        account="enos-test",
        kind=kind,
        observed_at_ms=1,
        evidence=evidence,
        **fields,
    )
    return baseline._take(baseline._decode(msgspec.json.encode(observation)), 1)


def test_the_devices_that_a_listing_finds_belong_to_the_baseline_but_not_to_that_of_a_file() -> None:
    for device_ids, devices in ((None, 1), (["d1"], 0)):
        course = Course(1.0)
        baseline = run_of(course, device_ids)

        seen(baseline, "hint", "new", name="discovery")
        seen(baseline, "hint", "other", name="deadLetterReplay")

        assert course.devices == devices


@pytest.mark.parametrize(("error", "times"), [("retry", 5), ("throttled", 5), ("forbidden", 1), (None, 1)])
def test_a_listing_is_asked_for_again_where_the_cloud_was_away_for_a_moment(
    error: str | None, times: int
) -> None:
    baseline = run_of(Course(1.0))
    outcome = "ok" if error is None else "unavailable"
    asked = 0
    while baseline._is_listing:
        asked += 1
        baseline._listings = asked
        seen(baseline, "answer", lookup_id="somebody-elses", outcome="ok")
        assert baseline._is_listing
        seen(baseline, "answer", lookup_id=baseline._listing_id, outcome=outcome, error=error)

    assert asked == times
    assert baseline._listing_error == error


def test_an_account_that_is_refused_for_good_ends_the_baseline() -> None:
    baseline = run_of(Course(1.0))
    baseline._course.add("d1")
    baseline._course.take(0)

    assert seen(baseline, "answer", "d1", outcome="unavailable", error="auth_fatal")

    with pytest.raises(CommandFailed) as failed:
        baseline._check(time.monotonic())
    assert failed.value.exit_code == ExitCode.REFUSED


def test_a_bridge_that_is_not_there_ends_the_baseline() -> None:
    baseline = run_of(Course(1.0))
    baseline._check(time.monotonic())

    with pytest.raises(CommandFailed) as failed:
        baseline._check(time.monotonic() - 1e6)

    assert failed.value.exit_code == ExitCode.UNREACHABLE


def test_a_bridge_that_may_not_be_there_is_noted_long_before(capsys: pytest.CaptureFixture[str]) -> None:
    course, now = Course(1.0), time.monotonic()
    baseline = run_of(course)
    assert baseline._told(now, now).note == ""

    with _Bar(enos_account(), course) as bar:
        for _ in range(3):
            bar.show(baseline._told(now, now - 30))

    assert capsys.readouterr().err.strip() == "nobody has answered for 20 s: does `ota-bridge run` run?"


class SlowTopics:
    """Topics of which every reading takes half a minute; nobody answers what is asked."""

    def __init__(self, records: int) -> None:
        self.now_s = 1000.0
        self._ahead = records

    def monotonic(self) -> float:
        return self.now_s

    async def known_devices(self, *_: object) -> set[str]:
        self.now_s += 30
        return {"d1"}

    async def ends_of(self, *_: object) -> dict[str, int]:
        return {"place": self._ahead}

    @contextlib.asynccontextmanager
    async def open_reader(self, *_: object) -> AsyncIterator[tuple[SlowTopics, int]]:
        yield self, 1

    def assign(self, _: object) -> None:
        self._read = 0

    async def offsets_for_times(self, _: Any) -> dict[Any, None]:
        return {}

    async def end_offsets(self, places: Any) -> dict[Any, int]:
        return dict.fromkeys(places, 0)

    def seek(self, *_: object) -> None:
        return

    async def getmany(self, **_: object) -> dict[Any, Any]:
        self.now_s += 30
        self._read += 1
        return {}

    async def position(self, _: object) -> int:
        return self._read


async def test_nobody_is_missed_before_anything_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = SlowTopics(records=20)
    told: list[tuple[int, str]] = []
    clock = SimpleNamespace(monotonic=topics.monotonic, time_ns=time.time_ns)
    writer = contextlib.nullcontext(SimpleNamespace(write=AsyncMock()))
    for name, played in (
        ("time", clock),
        ("known_devices", topics.known_devices),
        ("ends_of", topics.ends_of),
        ("open_reader", topics.open_reader),
        ("KafkaWriter", lambda *_: writer),
    ):
        monkeypatch.setattr(f"bridge.cli.baseline_run.{name}", played)

    with pytest.raises(CommandFailed) as failed:
        await run_of(Course(1.0), ["d1"]).run(lambda each: told.append((each.asked, each.note)))

    # Ten minutes of reading are no silence; the five after the question are.
    assert failed.value.exit_code == ExitCode.UNREACHABLE
    assert [note for asked, note in told if not asked] == [""] * 20
    assert [bool(note) for asked, note in told if asked] == [True] * 11


def test_a_known_device_is_asked_about_by_a_lookup_and_the_list_by_one_without_a_device() -> None:
    account = enos_account()

    for device_id in ("d1", ""):
        record = lookup_record(account, "id", device_id, 5)
        request = msgspec.json.decode(record.value, type=LookupRequest)
        assert (record.topic, record.key) == ("lookups", b"enos-test")
        assert (request.device_id, request.cause, request.due_at_ms) == (device_id, "operator", 5)
    hint = msgspec.json.decode(hint_record(account, "d2", 5).value, type=Observation)
    assert (hint.kind, hint.device_id, hint.cloud, hint.evidence.origin) == ("hint", "d2", "enos", "bridge")
