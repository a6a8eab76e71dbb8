"""`ota-bridge dead-letters` without a broker: which are meant, what a replay would do, and mistakes of the user."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bridge.cli import run_command
from bridge.cli.dead_letters import ListedLetter, _show_letter, _show_list
from bridge.cli.failure import CommandFailed
from bridge.cli.letters import Present, Wanted, since_ms
from bridge.cli.reasons import REMEDIES, remedy_of
from bridge.cli.replay_plan import MOST_TOLD, Plan, plan_tables
from consumer.replay import Replayed
from schemas import DeadLetter, Observation, ObservedEvidence
from schemas.vocabulary import DeadLetterReason

NOW_MS = 1_700_000_000_000
HOUR_MS = 3_600_000


def letter(number: int = 1, **changes: Any) -> DeadLetter:
    fields = {
        "reason": "bad_signature",
        "detail": "no configured access key signed this envelope",
        "source_position": f"demo/event/3:7:{number}:-1",
        "account": "demo",
        "received_at_ms": NOW_MS,
        "payload": b"{}",
        "payload_bytes": 2,
        "payload_sha256": "",
        "properties": {},
    }
    return DeadLetter(**fields | changes)


def hint(device: str, at_ms: int = NOW_MS, account: str = "demo") -> Observation:
    return Observation(
        device_id=device,
        cloud="tuya-cloud",
        account=account,
        kind="hint",
        vendor_time_at_ms=at_ms,
        observed_at_ms=NOW_MS,
        evidence=ObservedEvidence(origin="bridge", name="replay"),
    )


def shown(plan: Plan, rates: dict[str, float]) -> str:
    console = Console(width=120, record=True)
    with console.capture() as captured:
        for part in plan_tables(plan, rates):
            console.print(part)
    return " ".join(captured.get().split())


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90s", NOW_MS - 90_000),
        ("30m", NOW_MS - HOUR_MS // 2),
        ("24h", NOW_MS - 24 * HOUR_MS),
        ("7d", NOW_MS - 7 * 24 * HOUR_MS),
        ("2023-11-14T22:13:20Z", NOW_MS),
        ("2023-11-14T23:13:20+01:00", NOW_MS),
        ("999999d", 0),
        ("1969-07-20", 0),
        (None, None),
    ],
)
def test_since_is_an_age_or_a_time(text: str | None, at_ms: int | None) -> None:
    assert since_ms(text, NOW_MS) == at_ms


@pytest.mark.parametrize("text", ["yesterday", "5", "-1h", "24 h", "2023-13-01", "99999999d"])
def test_since_that_is_neither_is_a_mistake(text: str) -> None:
    with pytest.raises(CommandFailed, match="30m, 24h or 7d"):
        since_ms(text, NOW_MS)


def test_the_options_say_which_are_meant() -> None:
    assert Wanted().matches(letter())
    assert Wanted(key="demo/event/3:7:1:-1").matches(letter())
    assert not Wanted(key="demo/event/3:7:2:-1").matches(letter())
    wanted = Wanted(
        reasons=frozenset({"bad_signature", "too_large"}), accounts=frozenset({"demo"}), since_ms=NOW_MS
    )
    assert wanted.matches(letter())
    assert not wanted.matches(letter(reason="duplicate_key"))
    assert not wanted.matches(letter(account="other"))
    assert not wanted.matches(letter(received_at_ms=NOW_MS - 1))


def test_a_device_gets_one_hint_however_many_letters_name_it() -> None:
    plan = Plan()
    for number, at_ms in enumerate((5, 9, 7)):
        plan.take(letter(number), Replayed(hints=(hint("d1", at_ms),)))
    plan.take(letter(4), Replayed(hints=(hint("d1", account="other"), hint("d2"))))

    assert (plan.letters, len(plan.hints)) == (4, 3)
    assert plan.hints["demo", "d1"].vendor_time_at_ms == 9


def test_what_is_left_is_counted_by_reason_and_named_up_to_a_limit() -> None:
    plan = Plan()
    for number in range(MOST_TOLD + 5):
        plan.take(letter(number), Replayed(left="bad_signature", detail="no key"))
    plan.take(letter(), Replayed(left="cut", detail="cut"))

    report = plan.report(0)
    assert report["left"] == {"bad_signature": MOST_TOLD + 5, "cut": 1}
    assert len(report["left_letters"]) == MOST_TOLD
    assert report["left_letters"][0].source_position == "demo/event/3:7:0:-1"


def test_before_asking_it_is_told_what_would_be_done_and_how_long_it_lasts() -> None:
    plan = Plan()
    for number in range(1200):
        plan.take(letter(number), Replayed(hints=(hint(f"d{number % 600}"),)))
    plan.take(letter(), Replayed(left="bad_signature", detail="no key"))
    plan.take(letter(), Replayed(left="cut", detail="cut"))
    plan.take(letter(), Replayed(hints=(hint("d1", account="silent"),)))
    plan.limit_reached = True

    told = shown(plan, {"demo": 4.0})

    assert "1203 dead letters read 1201 understood, about 601 devices" in told
    assert f"1 left, bad_signature: {remedy_of('bad_signature')}" in told
    assert "1 left, cut: only the beginning of the message was kept, so it can never be read again" in told
    assert "Account demo: 600 look-ups, about 2 min at 4 a second." in told
    assert "Account silent has no api" in told
    assert "without --limit all of them are taken" in told


@pytest.mark.parametrize(
    "why", ["cut", "unknown account", "nothing to ask", "not an observation", "no device"]
)
def test_all_that_is_left_is_explained_also_where_it_is_no_dead_letters_reason(why: str) -> None:
    plan = Plan()
    plan.take(letter(), Replayed(left=why, detail=why))

    told = shown(plan, {})

    assert f"1 left, {why}: " in told
    assert "another version" not in told


def test_nothing_found_is_said() -> None:
    assert shown(Plan(), {}) == "No dead letters match."


def test_every_reason_has_a_remedy() -> None:
    (meta,) = DeadLetterReason.__metadata__
    assert set(REMEDIES) == set(meta.examples)
    assert not any("{" in remedy_of(reason) for reason in REMEDIES)


def test_what_to_do_stands_beside_every_reason_in_the_list(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    (meta,) = DeadLetterReason.__metadata__

    _show_list([], Counter(meta.examples))

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {f"1 {reason} {remedy_of(reason)}." for reason in meta.examples} <= {*lines}


@pytest.mark.parametrize("columns", ["30", "80"])
def test_a_key_is_on_one_line_however_narrow_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    key = "an-account-with-a-rather-long-name/event-test/10:1234567:1234567:12"
    detail = "what was wrong with it, in more words than go on a line"
    listed = ListedLetter(
        received_at_ms=NOW_MS,
        account="demo",
        reason="unknown_encryption",
        detail=detail,
        source_position=key,
        payload_bytes=2,
        is_cut=False,
    )

    _show_list([listed], Counter(["unknown_encryption"]))
    _show_letter(letter(source_position=key, detail=detail))

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in lines if "an-account" in line] == [key, key, "demo"][:2]
    assert any(line.endswith(detail) for line in lines)


def test_a_reason_or_account_that_does_not_exist_is_a_mistake_and_told_what_does() -> None:
    present = Present()
    present.add(letter())
    present.add(letter(reason="of_another_version", account="gone"))

    for wanted, told in (
        (Wanted(reasons=frozenset({"bad_signatur"})), "Known: bad_signature"),
        (Wanted(accounts=frozenset({"dem"})), "Known: demo, gone, other"),
        (Wanted(reasons=frozenset({"x" * 32})), r"xxxx… \(32 characters\)"),
    ):
        with pytest.raises(CommandFailed, match=told) as failed:
            present.check(wanted, ["demo", "other"])
        assert failed.value.exit_code == 2


def test_a_reason_or_account_without_letters_is_told_what_has_some() -> None:
    present = Present()
    present.add(letter())

    assert present.check(Wanted(reasons=frozenset({"too_large"})), []) == [
        "--reason too_large: there are no such dead letters. There are: bad_signature 1."
    ]
    assert present.check(Wanted(accounts=frozenset({"other"})), ["demo", "other"]) == [
        "--account other: there are no such dead letters. There are: demo 1."
    ]
    # Without configured accounts nobody knows which exist.
    assert len(present.check(Wanted(accounts=frozenset({"nobody"})), [])) == 1
    assert present.check(Wanted(reasons=frozenset({"bad_signature"}), accounts=frozenset({"demo"})), []) == []
    assert Present().check(Wanted(reasons=frozenset({"too_large"})), []) == [
        "--reason too_large: there are no such dead letters. There are: none."
    ]


@pytest.mark.parametrize(
    "arguments", [[], ["demo/event/3:7:1:-1", "--all"], ["x", "--reason", "too_large"], ["--since", "1h"]]
)
def test_a_replay_says_which_letters_it_means(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["dead-letters", "replay", *arguments]) == 2
    assert "one source position, --reason, or --all" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["list"], ["show", "x"], ["replay", "--all"]])
def test_kafka_that_does_not_answer_ends_with_4(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.txt").write_text("a-very-secret-access-key-of-32-c")
    file = tmp_path / "ota-bridge.toml"
    file.write_text(
        "kafka.bootstrap_servers = '127.0.0.1:1'\n[accounts.demo]\ncloud = 'tuya-cloud'\naccess_id = 'id'\n"
        "access_key_file = 'key.txt'\ngateway.url = 'pulsar+ssl://localhost:1'\ngateway.subscription = 's'\n"
    )

    assert run_command(["dead-letters", *arguments, "-c", str(file)]) == 4
    assert "Kafka at 127.0.0.1:1 does not answer" in capsys.readouterr().err
