"""The command line: documented exit codes, sentences instead of tracebacks, and a quick start."""

from __future__ import annotations

import contextlib
import os
import re
import socketserver
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest
import trustme

from bridge.cli import run_command
from bridge.cli.console import terminal_json
from bridge.exit_codes import ExitCode
from bridge.version import VERSION

MAIN = "from bridge.cli import main; main()"


EVERY_COMMAND = [
    [],
    ["run"],
    ["listen"],
    ["decrypt"],
    ["events"],
    ["state"],
    ["package"],
    ["baseline"],
    ["replay"],
    ["dead-letters"],
    ["dead-letters", "list"],
    ["dead-letters", "show"],
    ["dead-letters", "replay"],
    ["device"],
    ["device", "confirm"],
    ["device", "upgrade"],
    ["space"],
    ["space", "sync"],
    ["topics"],
    ["topics", "create"],
    ["topics", "check"],
    ["schemas"],
    ["schemas", "export"],
    ["config"],
    ["config", "example"],
    ["check-config"],
    ["version"],
]
SECRET = "4jy99c2qa7z1fup8fsw9mzhr2sk0anbg"


def help_of(command: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    run_command([*command, "--help"])
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("command", EVERY_COMMAND, ids=" ".join)
def test_help_says_what_the_command_does_and_nothing_superfluous(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = help_of(command, capsys)

    for noise in ("[default: ()]", "[default: False]", "[default: ]", "--empty-", "--no-from", "FILE --file"):
        assert noise not in shown
    assert "--key " not in shown


def test_help_lists_every_command_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = help_of([], capsys)

    assert {words[0] for words in EVERY_COMMAND if words} <= set(shown.split())
    for code in ExitCode:
        assert re.search(rf"\b{code:d} (when|for) ", shown), code


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["listen"], "this subscription gets it never again"),
        (["decrypt"], "else with 5"),
        (["dead-letters", "replay"], "Each device gets one hint"),
        (["run"], "Ends with 2 when the configuration or a topic is wrong"),
        (["run"], "with 3 when all of its accounts have a gateway and all are refused by it"),
    ],
)
def test_help_of_a_command_is_its_whole_text(
    command: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in help_of(command, capsys)


@pytest.mark.parametrize(
    "arguments",
    [
        [SECRET],
        ["decrypt", "--access-key", SECRET],
        ["decrypt", "--em", SECRET],
        ["decrypt", f"--acces-key-file={SECRET}"],
        ["decrypt", f"--em={SECRET}"],
        ["decrypt", "message.json", SECRET],
        ["listen", SECRET],
        ["listen", f"-{SECRET}"],
        ["listen", "--account", SECRET],
        ["listen", "--limit", SECRET],
        ["listen", "--seconds", f"-{SECRET}"],
        ["dead-letters", SECRET],
        ["dead-letters", "list", "--since", SECRET],
        ["run", "--stage", SECRET],
        ["run", "-c", SECRET],
        ["events", "--device"],
    ],
)
def test_a_wrong_command_line_is_one_sentence_that_repeats_no_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with pytest.raises(SystemExit) as ended:
        sys.exit(run_command(arguments))

    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert SECRET not in shown.err
    assert "─" not in shown.err


def test_json_on_a_terminal_commands_nothing_and_stays_the_same_json() -> None:
    names = [
        "\x7f",
        "\x9b2J",
        "\u202eevil",
        "\u2066",
        "\ufeff",
        "\U000e0041",
        "\ud7ff",
        "Lämpchen 💡 →",
        "a\nb",
    ]
    text = msgspec.json.encode(names).decode()

    safe = terminal_json(text)

    assert safe.isprintable()
    assert msgspec.json.decode(safe) == names
    assert "Lämpchen 💡 →" in safe
    assert terminal_json('{\n\t"a": 1\r\n}') == '{\n\t"a": 1\r\n}'


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["version"]) == 0
    assert capsys.readouterr().out == f"{VERSION}\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["state"], ["run", "--stage", "kitchen"], ["events", "--colour"]]
)
def test_wrong_command_line_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(arguments)

    assert ended.value.code == 2


@pytest.mark.parametrize(
    "arguments", [["run"], ["check-config"], ["topics", "create"], ["events"], ["state", "x"]]
)
def test_mistakes_of_the_configuration_are_told_and_end_with_2(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ota-bridge.toml"
    file.write_text("[kafka]\nbootstrap_server = 'localhost:9092'\npartitions = 'twelve'\n")

    assert run_command([*arguments, "-c", str(file)]) == 2

    told = capsys.readouterr().err
    for path in ("kafka.bootstrap_servers", "kafka.bootstrap_server", "kafka.partitions"):
        assert f"  {path}: " in told
    assert "Traceback" not in told


@pytest.mark.parametrize("variable", ["", "OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS"])
@pytest.mark.parametrize(
    "arguments",
    [["run"], ["check-config"], ["topics", "create"], ["topics", "check"], ["events"], ["state", "x"]],
)
def test_file_that_does_not_exist_is_told_whatever_the_environment_says(
    arguments: list[str], variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if variable:
        monkeypatch.setenv(variable, "127.0.0.1:1")

    assert run_command([*arguments, "-c", "missing.toml"]) == 2

    told = capsys.readouterr().err.splitlines()
    assert told[1].startswith(
        "  missing.toml: does not exist. Start one with `ota-bridge config example > ota-bridge.toml`"
    )
    assert len(told) == 2


def test_a_certificate_of_kafka_s_that_is_not_trusted_names_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, ours = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.issue_cert("127.0.0.1").configure_cert(context)

    class Handshake(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                context.wrap_socket(self.request, server_side=True).close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handshake) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS", f"127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("OTA_BRIDGE__KAFKA__SECURITY", "ssl")
        monkeypatch.setenv("OTA_BRIDGE__KAFKA__CA_FILE", "ca.pem")

        assert run_command(["state", "x"]) == 4
        server.shutdown()

    told = capsys.readouterr().err
    assert (
        "shows a certificate that comes from an authority not trusted here. Remedy: set kafka.ca_file to"
        in told
    )
    assert "start the bridge again" not in told


@pytest.mark.parametrize("arguments", [["topics", "create"], ["topics", "check"], ["events"], ["state", "x"]])
def test_kafka_that_does_not_answer_ends_with_4_and_one_sentence(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")

    assert run_command(arguments) == 4

    told = capsys.readouterr().err
    assert told.startswith("Kafka at 127.0.0.1:1 does not answer")
    assert "kafka.bootstrap_servers" in told
    assert told.count("\n") == 1


def test_example_passes_its_own_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["config", "example"]) == 0
    (tmp_path / "ota-bridge.toml").write_text(capsys.readouterr().out)
    (tmp_path / "access-key.txt").write_text("a-very-secret-access-key")
    monkeypatch.chdir(tmp_path)

    assert run_command(["check-config"]) == 0

    assert "my-project" in capsys.readouterr().out


def test_stage_without_an_account_for_it_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("a-very-secret-access-key")
    file = tmp_path / "ota-bridge.toml"
    file.write_text(
        "kafka.bootstrap_servers = 'localhost:9092'\n[accounts.demo]\ncloud = 'tuya-cloud'\naccess_id = 'id'\n"
        "access_key_file = 'key'\napi.url = 'https://localhost'\n"
    )

    assert run_command(["run", "-c", str(file), "--stage", "consumer"]) == 2

    assert "gateway" in capsys.readouterr().err


def test_simple_commands_load_nothing_heavy() -> None:
    script = (
        "import sys; from bridge.cli import run_command; run_command(['version']);"
        "heavy = {'aiokafka', 'pulsar', 'httpx', 'rich.table', 'structlog', 'cryptography'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


WRITES_FOR_EVER = """
import sys
import threading
from bridge.cli import run_command, state
from bridge.cli.console import console, write_json
def written(_settings, work):
    work.close()
    while True:
        console().print("text") if "--no-json" in sys.argv else write_json({"json": 1})
state.run_with_kafka = written
sys.exit(run_command(["state", "d"]))
"""


@pytest.mark.parametrize(
    "arguments",
    [
        [MAIN, "config", "example"],
        [MAIN, "listen", "--help"],
        [MAIN, "topics"],
        [WRITES_FOR_EVER, "--json"],
        [WRITES_FOR_EVER, "--no-json"],
    ],
)
def test_reader_that_has_seen_enough_ends_the_command_quietly(arguments: list[str]) -> None:
    command = subprocess.Popen(
        [sys.executable, "-c", *arguments],
        env=os.environ | {"OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert command.stdout is not None
    command.stdout.close()
    _, told = command.communicate()

    assert (command.returncode, told) == (0, "")
