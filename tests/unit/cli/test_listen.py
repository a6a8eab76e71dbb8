"""`ota-bridge listen` without a gateway: what it shows, what it must not acknowledge, and what it refuses to do."""

from __future__ import annotations

import asyncio
import errno
import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.cli import run_command
from bridge.cli.failure import CommandFailed
from bridge.cli.kept_letters import KeptLetters
from bridge.cli.listening import (
    JsonScreen,
    Notes,
    ScreenSink,
    Shown,
    TextScreen,
    remarks,
    summary_rows,
)
from bridge.cli.push_lines import dead_letter_line, observation_line
from bridge.exit_codes import ExitCode
from consumer.ingest import Ingest
from consumer.sink import OutgoingRecord, SinkClosed
from consumer.statistics import AccountStatistics, Counters
from consumer.translation import Translator
from schemas import DeadLetter, Observation
from tests.gateway_messages import (
    ACCESS_KEY,
    Received,
    account,
    sealed,
    translated,
    upgrade_status,
)


def shown(*, dead_letters: int = 0, **kinds: int) -> Shown:
    counted = Shown()
    counted.observations.update(kinds)
    counted.names["upgradeStatus"] = counted.observations.total()
    if dead_letters:
        counted.dead_letters["bad_signature"] = dead_letters
    counted.lines = counted.observations.total() + dead_letters
    return counted


def records(*payloads: bytes) -> list[OutgoingRecord]:
    translator = Translator(account(), Counters())
    return [record for payload in payloads for record in translated(translator, Received(payload))]


def observation(body: dict[str, Any], protocol: int = 20) -> Observation:
    (record,) = records(sealed(body, protocol=protocol))
    return msgspec.json.decode(record.value, type=Observation)


async def statistics(**changes: Any) -> AccountStatistics:
    stage = Ingest([account()], ScreenSink(JsonScreen(), limit=None, enough=print))
    return msgspec.structs.replace(stage.statistics().accounts["tuya-test"], **changes)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (upgrade_status("d1", "6"), "d1 /0  upgradeStatus  downloading  (6)"),
        (upgrade_status("d1", "3"), "d1 /0  upgradeStatus  verifying  claims succeeded  (3)"),
        (
            upgrade_status("d1", "41", description="at 5 %"),
            "d1 /0  upgradeStatus  verifying  claims failed  (41)  low_battery: at 5 %",
        ),
        (upgrade_status("d1", "77"), "d1 /0  upgradeStatus  hint  (77)"),
        (
            {"bizCode": "upgradeProcess", "bizData": {"devId": "d1", "firmwareType": 9, "progress": 40}},
            "d1 /9  upgradeProcess  40 %",
        ),
        ({"bizCode": "online", "devId": "d1"}, "d1  online  online"),
        ({"bizCode": "nameUpdate", "devId": "d1", "bizData": {"name": "La\x1b[2Jmp"}}, "renamed La�[2Jmp"),
        ({"bizCode": "bindUser", "devId": "d1", "bizData": {"token": "t"}}, "d1  bindUser  hint"),
    ],
)
def test_a_line_tells_device_message_and_what_it_means(body: dict[str, Any], told: str) -> None:
    assert observation_line(observation(body)).plain.endswith(told)


def test_a_dead_letter_is_a_line_with_its_reason_and_place() -> None:
    (record,) = records(sealed(upgrade_status("d1"), key="x" * 32))
    letter = msgspec.json.decode(record.value, type=DeadLetter)

    assert dead_letter_line(letter).plain.endswith(
        "dead letter  bad_signature: no configured access key signed this envelope  at event/3:7:1:-1"
    )


async def test_json_is_one_line_a_message_with_the_record_as_it_would_stand_in_kafka(
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = records(sealed(upgrade_status("d1")), b"not json")
    sink = ScreenSink(JsonScreen(), limit=None, enough=print)

    assert await sink.write(given) == ()

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines] == ["observation", "dead_letter"]
    assert lines[0]["observation"] == json.loads(given[0].value)
    assert lines[1]["dead_letter"] == json.loads(given[1].value)


async def test_progress_records_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    sink = ScreenSink(JsonScreen(), limit=1, enough=print)

    await sink.write([OutgoingRecord(topic="ingest-progress", key=b"k", value=b"{}", timestamp_ms=1)])

    assert (capsys.readouterr().out, sink.shown.lines) == ("", 0)


async def test_what_is_beyond_the_limit_is_never_confirmed() -> None:
    enough = asyncio.Event()
    sink = ScreenSink(TextScreen(), limit=2, enough=enough.set)
    first, second, third = records(*(sealed(upgrade_status(f"d{number}")) for number in range(3)))

    await sink.write([first])
    assert not enough.is_set()
    await sink.write([second])
    assert enough.is_set()
    with pytest.raises(SinkClosed) as closed:
        await sink.write([third])
    assert (closed.value.confirmed, sink.shown.lines) == (0, 2)

    with pytest.raises(SinkClosed) as closed:
        await ScreenSink(TextScreen(), limit=2, enough=enough.set).write([first, second, third])
    assert closed.value.confirmed == 2


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), None),
        (OSError(errno.ENOSPC, "No space left on device"), "The output cannot be written (No space left"),
    ],
)
@pytest.mark.parametrize("screen", [JsonScreen, TextScreen])
async def test_what_cannot_be_shown_any_more_is_never_confirmed(
    screen: type[JsonScreen | TextScreen], failure: OSError, told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        encoding = "utf-8"

        def write(self, _text: str) -> None:
            raise failure

        def flush(self) -> None:
            raise failure

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr("sys.stdout", Closed())
    sink = ScreenSink(screen(), limit=None, enough=print)

    with pytest.raises(SinkClosed) as closed:
        await sink.write(records(sealed(upgrade_status("d1"))))
    assert closed.value.confirmed == 0
    assert told is None if sink.failure is None else str(sink.failure).startswith(str(told))


async def test_what_was_not_understood_is_kept_in_a_file_that_decrypt_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, key_file = tmp_path / "letters.jsonl", tmp_path / "key.txt"
    key_file.write_text(ACCESS_KEY)
    given = records(
        sealed(upgrade_status("d1")),
        b"not json",
        sealed({"bizCode": "upgradeStatus"}),
        sealed({"devId": "d"}),
    )
    with KeptLetters(file) as kept:
        sink = ScreenSink(TextScreen(), limit=None, enough=print, keep=kept.add)
        await sink.write(given)

    lines = file.read_bytes().splitlines()
    assert lines == [record.value for record in given if record.topic == "dead-letters"]
    assert file.stat().st_mode & 0o777 == 0o600

    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines[1] + b"\n")))
    assert run_command(["decrypt", "--access-key-file", str(key_file), "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["dead_letter"] == "unknown_shape"

    assert run_command(["decrypt", str(file), "--access-key-file", str(key_file)]) == 5
    assert f"holds {len(lines)} lines of JSON" in capsys.readouterr().err


async def test_what_cannot_be_kept_is_never_confirmed() -> None:
    def full(_letter: bytes) -> None:
        raise CommandFailed(ExitCode.UNEXPECTED, "no room")

    sink = ScreenSink(TextScreen(), limit=None, enough=print, keep=full)
    given = records(sealed(upgrade_status("d1")), b"not json", sealed(upgrade_status("d2")))

    with pytest.raises(SinkClosed) as closed:
        await sink.write(given)

    assert (closed.value.confirmed, sink.shown.lines, str(sink.failure)) == (1, 1, "no room")


def test_a_file_that_is_there_is_never_written_to_and_an_empty_one_never_left(tmp_path: Path) -> None:
    key_file = tmp_path / "key.txt"
    key_file.write_text(ACCESS_KEY)

    with pytest.raises(CommandFailed, match=r"--save: .*key\.txt is there already"):
        KeptLetters(key_file)
    with pytest.raises(CommandFailed, match="cannot be made: No such file or directory"):
        KeptLetters(tmp_path / "nowhere" / "letters.jsonl")
    with KeptLetters(tmp_path / "letters.jsonl"):
        pass

    assert key_file.read_text() == ACCESS_KEY
    assert [file.name for file in tmp_path.iterdir()] == ["key.txt"]


async def test_the_summary_tells_how_to_look_into_what_was_not_understood() -> None:
    told, all_of_it = await statistics(), shown(status=1, dead_letters=2)

    (_, without), (_, kept) = remarks(told, all_of_it), remarks(told, all_of_it, kept="letters.jsonl")

    assert "with --save FILE the next such messages are" in without
    assert "`head -n 1 letters.jsonl | ota-bridge decrypt`" in kept
    assert "still encrypted" in kept
    assert not any("--save" in remark for remark in remarks(told, shown(status=1)))


async def test_the_summary_tells_what_became_of_every_message(capsys: pytest.CaptureFixture[str]) -> None:
    told = await statistics(
        received=1210,
        filtered={"4": 1200},
        unlisted={"homeCreate": 4},
        notices={"pulsar_backlog_notice": 1},
        observations={"status": 2, "hint": 1},
        dead_letters={"bad_signature": 2},
        signatures={"core_fields": 3},
        keys={"current": 2, "previous": 1},
    )
    all_of_it = shown(status=2, hint=1, dead_letters=2)

    assert [(row.count, row.what, row.detail) for row in summary_rows(told, all_of_it)] == [
        (3, "understood", "status 2, hint 1 (upgradeStatus 3)"),
        (2, "dead letters", "bad_signature 2"),
        (1200, "filtered by protocol", "4 1200"),
        (4, "not about devices' upgrades", "homeCreate 4"),
        (1, "notices of the platform", "pulsar_backlog_notice 1"),
        (3, "signatures checked", "core_fields 3; key: current 2, previous 1"),
    ]
    assert [remark.partition(":")[0] for remark in remarks(told, all_of_it)] == [
        "bad_signature",
        "What was not understood is shown once and not kept",
        "Some messages still come with the previous access key",
    ]

    for screen in (TextScreen(), JsonScreen()):
        screen.summary(told, all_of_it, 12.34)
    *lines, last = capsys.readouterr().out.splitlines()
    assert "1210 messages received in 12 s, 5 lines shown" in lines
    expected = {"type": "summary", "received": 1210, "seconds": 12.3, "shown": 5, "not_shown": 0}
    assert json.loads(last) | expected == json.loads(last)


async def test_the_summary_counts_as_understood_only_what_was_shown() -> None:
    told = await statistics(received=200, observations={"status": 198}, dead_letters={"bad_signature": 2})

    rows = summary_rows(told, shown(status=10))

    assert [(row.count, row.what) for row in rows] == [(10, "understood"), (190, "not shown")]
    assert not any("bad_signature" in remark for remark in remarks(told, shown(status=10)))


async def test_a_project_that_pushes_no_firmware_messages_is_told_what_to_enable() -> None:
    (remark,) = remarks(await statistics(), Shown())

    assert "messaging rule" in remark
    assert "upgradeStatus" in remark


async def test_notes_tell_that_it_listens_what_is_filtered_and_why_nothing_may_come() -> None:
    notes = Notes(account().gateway)
    silent = await statistics(state="running")
    busy = await statistics(state="running", received=500, filtered={"4": 500})

    assert notes.due(await statistics(), 0, 1.0) is None
    assert "Listening to event by accessIdtest-sub" in (notes.due(silent, 0, 2.0) or "")
    assert notes.due(silent, 0, 31.0) is None
    assert "Nothing has come yet" in (notes.due(silent, 0, 33.0) or "")
    assert notes.due(silent, 0, 90.0) is None
    assert "500 messages so far, 0 to show; filtered: protocol 4 500" in (notes.due(busy, 0, 91.0) or "")
    assert notes.due(busy, 0, 120.0) is None


async def test_notes_are_silent_while_messages_are_shown() -> None:
    notes = Notes(account().gateway)
    notes.due(await statistics(state="running"), 0, 0.0)

    for shown in range(1, 10):
        assert notes.due(await statistics(state="running", received=shown), shown, 20.0 * shown) is None


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "key.txt").write_text(ACCESS_KEY)
    file = tmp_path / "ota-bridge.toml"
    file.write_text(
        "[accounts.demo]\ncloud = 'tuya-cloud'\naccess_id = 'id'\naccess_key_file = 'key.txt'\n"
        "gateway.url = 'pulsar+ssl://127.0.0.1:1'\ngateway.subscription = 'id-sub'\n"
    )
    return file


def test_the_daemons_subscription_is_taken_only_with_consent(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["listen", "-c", str(config)]) == 2
    told = capsys.readouterr().err
    assert "id-sub" in told
    assert "--subscription" in told
    assert "--shared" in told

    for consent in (["--shared"], ["--subscription", "id-listen"]):
        assert run_command(["listen", "-c", str(config), *consent]) == 4
        assert "The gateway 127.0.0.1:1 cannot be reached" in capsys.readouterr().err


def test_the_environment_alone_is_enough_unless_a_configuration_is_named(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable, value in {
        "ACCESS_KEY": ACCESS_KEY,
        "ACCESS_ID": "other-id",
        "URL": "pulsar+ssl://127.0.0.1:2",
        "SUBSCRIPTION": "s",
    }.items():
        monkeypatch.setenv(f"OTA_BRIDGE_{variable}", value)

    assert run_command(["listen"]) == 4
    told = capsys.readouterr().err
    assert told.startswith("The gateway 127.0.0.1:2 cannot be reached")
    assert ACCESS_KEY not in told

    assert run_command(["listen", "-c", str(config), "--shared"]) == 4
    assert capsys.readouterr().err.startswith("The gateway 127.0.0.1:1 cannot be reached")


def test_missing_options_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run_command(["listen", "--access-id", "id"]) == 2
    assert "--url, --access-key-file (or OTA_BRIDGE_ACCESS_KEY), --subscription" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--seconds", "-1"], ["--sign-policy", "never"]])
def test_senseless_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(["listen", *arguments])
    assert ended.value.code == 2


def test_an_access_key_that_cannot_be_one_is_a_mistake_not_a_crash(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "key.txt").write_text("short")

    assert run_command(["listen", "-c", str(config), "--shared"]) == 2
    complaint = capsys.readouterr().err
    assert "accounts.demo.access_key_file: names" in complaint
    assert "which has 5 characters, and an access key at least 24" in complaint


def test_mistakes_in_options_are_told_by_the_options_names(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "short.txt").write_text("short")
    monkeypatch.chdir(tmp_path / "elsewhere")
    good = {
        "--url": "pulsar+ssl://127.0.0.1:1",
        "--access-id": "id",
        "--access-key-file": str(tmp_path / "key.txt"),
        "--subscription": "s",
    }
    for change, told in (
        ({"--url": "http://127.0.0.1"}, "--url: begins with http://"),
        ({"--url": "pulsar+ssl://127.0.0.1"}, "--url: names no port"),
        ({"--access-key-file": str(tmp_path / "short.txt")}, "short.txt, which has 5 characters"),
        ({"--url": ACCESS_KEY}, "--url: is not a complete address"),
        ({"--access-key-file": ACCESS_KEY}, "--access-key-file: no such file in"),
        ({"--access-key-file": "nothing.txt"}, "the secret itself may be in OTA_BRIDGE_ACCESS_KEY"),
        ({"--access-key-file": "/"}, "--access-key-file: names /, which is not a file"),
        ({"--ca-file": "nothing.pem"}, "--ca-file: names"),
        ({"--topic": "a:b"}, "--topic: does not name channels"),
    ):
        arguments = [word for option in (good | change).items() for word in option]
        assert run_command(["listen", *arguments]) == 2
        complaint = capsys.readouterr().err
        assert told in complaint
        assert "accounts.listen" not in complaint
        assert "ACCOUNTS__LISTEN" not in complaint
        assert "configuration file" not in complaint
        assert ACCESS_KEY not in complaint

    # An option over a configured account, and a key of the configuration itself.
    for chosen in ([], ["--account", "demo"]):
        assert run_command(["listen", "-c", str(config), *chosen, "--url", "x"]) == 2
        assert "  --url: is not" in capsys.readouterr().err
    config.write_text(config.read_text().replace("pulsar+ssl", "http"))
    assert run_command(["listen", "-c", str(config), "--shared"]) == 2
    assert "accounts.demo.gateway.url: begins with http://" in capsys.readouterr().err


def test_without_any_account_the_ways_to_name_one_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert run_command(["listen"]) == 2
    assert (
        "Say --url, --access-id, --access-key-file and --subscription, or name a" in capsys.readouterr().err
    )
