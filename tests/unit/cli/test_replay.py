"""`ota-bridge replay` without a broker: what it tells, with which exit code, and mistakes of the user."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bridge.cli import run_command
from bridge.cli.replay import _exit_code
from bridge.cli.replay_report import report_lines, report_text
from bridge.exit_codes import ExitCode
from bridge.replay.differences import differences
from bridge.replay.findings import Findings
from bridge.replay.parting import Parting
from schemas import Reason, UpgradeState
from tests.restored_logging import restored_logging
from tests.unit.fold.story import ms, upgrading
from tests.unit.replay.test_differences import changed

PARTING = Parting(
    at="push status claimed failed",
    published="status_changed verifying",
    replayed="status_changed failed",
    counts=("late_push",),
)


def state(device_id: str = "d1") -> UpgradeState:
    return msgspec.structs.replace(upgrading().known.state, device_id=device_id)


def found(*, limit: int = 2) -> Findings:
    """Three devices that differ by a rule, one that differs by its timers, and what could not be compared."""
    findings = Findings(limit)
    findings.begin(ms(0))
    findings.counts.update(observations=1234, dead_letters=3)
    findings.same, findings.began_earlier, findings.unreadable, findings.behind = 10, 5, 1, 2
    for number in range(3):
        published = state(f"d{number}")
        replayed = changed(published, status="failed", phase="terminal", reason=Reason(code="no_space"))
        findings.add("rules", published, replayed, differences(published, replayed), PARTING)
    late = changed(state("late"), changed_at_ms=1)
    findings.add("timers", state("late"), late, differences(state("late"), late))
    return findings


def shown(findings: Findings) -> str:
    return "\n".join(text.plain for text in report_text(findings, None))


def test_differences_are_told_in_groups_with_some_of_their_devices() -> None:
    text = shown(found())

    assert "1,234 observations" in text
    assert "14 devices compared, 10 as published" in text
    assert "Different: 3 devices." in text
    assert "installing → failed  reason, status" in text
    assert "first at push status claimed failed: published status_changed verifying" in text
    assert "decided by R3 R4 R5 R6 R7 R19" in text
    assert '/0 reason - → {"code":"no_space"}' in text
    assert "counted there: late_push" in text
    assert "d0" in text
    assert "d1" in text
    assert "d2" not in text, "only two of a group are shown"


def test_what_is_no_difference_by_the_rules_is_told_apart() -> None:
    text = shown(found())

    assert "Different only because timers fired at other times: 1 device." in text
    assert "no longer in the topic: 5 devices." in text
    assert "cannot read: 1." in text
    assert "refused (dead letters): 3." in text
    assert "as far as it had folded: 2." in text
    assert "late" not in text.replace("late_push", "")


def test_what_a_policy_may_hide_among_the_timers_is_told_where_more_than_times_differs() -> None:
    findings = found()
    assert "[policy]" not in shown(findings)
    adopted = changed(
        state("late"), status="succeeded", phase="terminal", outcome="succeeded", confirmed=False
    )
    findings.add("timers", state("late"), adopted, differences(state("late"), adopted))

    lines = shown(findings).splitlines()

    (first,) = [
        number for number, line in enumerate(lines) if line.startswith("Different only because timers")
    ]
    assert lines[first].endswith(": 2 devices.")
    assert "A [policy] that fires a timer up to a minute earlier" in lines[first + 3]


def test_a_replay_without_a_finding_says_so_in_one_line() -> None:
    findings = Findings(3)
    findings.same = 7

    assert shown(findings).splitlines() == [
        "0 observations folded again: 7 devices compared, 7 as published."
    ]


def test_as_json_each_device_shown_is_a_line_and_the_summary_has_every_group() -> None:
    *devices, summary = [
        msgspec.json.decode(msgspec.json.encode(line)) for line in report_lines(found(), None)
    ]

    assert [line["device_id"] for line in devices] == ["d0", "d1", "late"]
    assert devices[0]["parting"] == {
        "at": "push status claimed failed",
        "published": "status_changed verifying",
        "replayed": "status_changed failed",
    }
    assert devices[0]["differences"][0] == {
        "field": "status",
        "channel": "0",
        "published": "installing",
        "replayed": "failed",
    }
    assert {name: summary[name] for name in ("type", "compared", "same", "by_rules", "by_timers")} == {
        "type": "summary",
        "compared": 14,
        "same": 10,
        "by_rules": 3,
        "by_timers": 1,
    }
    assert [(group["cause"], group["devices"]) for group in summary["groups"]] == [
        ("rules", 3),
        ("timers", 1),
    ]


def test_what_a_device_is_called_commands_no_terminal() -> None:
    published = state("\x1b[2Jd")
    findings = Findings(1)
    replayed = changed(published, current_version="\x1b]0;evil")
    findings.add("rules", published, replayed, differences(published, replayed))

    assert "\x1b" not in shown(findings)


@pytest.mark.parametrize(
    ("fields", "devices", "code"),
    [
        ({"same": 3}, (), ExitCode.OK),
        ({}, (), ExitCode.OK),
        ({"same": 3, "unreadable": 1}, (), ExitCode.DATA),
        ({"began_earlier": 3}, (), ExitCode.DATA),
        ({"same": 1, "began_earlier": 3}, (), ExitCode.OK),
        ({"same": 1}, ("a", "b"), ExitCode.DATA),
        ({"same": 1}, ("a", "a"), ExitCode.OK),
    ],
)
def test_the_exit_code_is_0_only_for_a_comparison_that_found_nothing(
    fields: dict[str, int], devices: tuple[str, ...], code: ExitCode
) -> None:
    findings = Findings(3)
    for name, value in fields.items():
        setattr(findings, name, value)

    assert _exit_code(findings, devices) == code


def test_the_exit_code_is_5_for_rules_and_0_for_timers() -> None:
    by_rules, by_timers = Findings(3), Findings(3)
    other = changed(state(), changed_at_ms=1)
    by_rules.add("rules", state(), other, differences(state(), other))
    by_timers.add("timers", state(), other, differences(state(), other))

    assert _exit_code(by_rules, ()) == ExitCode.DATA
    assert _exit_code(by_timers, ()) == ExitCode.OK


@pytest.fixture
def config(tmp_path: Path) -> str:
    (tmp_path / "key.txt").write_text("a-very-secret-access-key-of-32-c")
    file = tmp_path / "ota-bridge.toml"
    file.write_text(
        "kafka.bootstrap_servers = '127.0.0.1:1'\n[accounts.demo]\ncloud = 'tuya-cloud'\naccess_id = 'id'\n"
        "access_key_file = 'key.txt'\napi.url = 'https://localhost:1'\n"
    )
    return str(file)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--account", "other"], "--account other is not in the configuration. It has demo."),
        (["--to-prefix", "no prefix"], "cannot begin a topic's name"),
        (["--limit", "-1"], "--limit"),
    ],
)
def test_mistakes_of_the_user_end_with_2_and_a_remedy(
    options: list[str], told: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with restored_logging():
        try:
            code = run_command(["replay", "-c", config, *options])
        except SystemExit as ended:
            code = int(ended.code or 0)

    assert code == 2
    assert told in capsys.readouterr().err


def test_kafka_that_does_not_answer_ends_with_4(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with restored_logging():
        assert run_command(["replay", "-c", config]) == 4

    assert "Kafka at 127.0.0.1:1 does not answer" in capsys.readouterr().err
