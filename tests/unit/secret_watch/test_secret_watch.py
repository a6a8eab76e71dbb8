"""The watch over secrets finds what it is to find: as a word, in a word, in a log; short words are no secrets."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from consumer.secret import Secret
from tests import secret_watch
from tests.secret_watch import SecretWatch


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> SecretWatch:
    own = SecretWatch()
    monkeypatch.setattr(secret_watch, "watch", own)
    return own


def test_every_secret_that_is_made_is_learnt(watch: SecretWatch) -> None:
    secret = Secret(secrets.token_hex(16))

    assert watch.found_in(f"key={secret.reveal()}") is not None
    assert watch.found_in(f"{secret!r} {secret}") is None


def test_one_of_this_test_is_found_inside_a_word_and_an_earlier_one_as_a_word(watch: SecretWatch) -> None:
    text = Secret(secrets.token_hex(16)).reveal()
    assert watch.found_in(f"x{text}y") is not None

    watch.forget_test()

    assert watch.found_in(f'{{"key":"{text}"}}') is not None


def test_a_short_text_is_a_word_that_may_stand_anywhere(watch: SecretWatch) -> None:
    Secret("password")

    assert watch.found_in("password") is None


@pytest.mark.usefixtures("watch")
def test_logs_are_looked_through_and_files_for_a_program_are_not(tmp_path: Path) -> None:
    text = Secret(secrets.token_hex(16)).reveal()
    (tmp_path / "key.txt").write_text(text)
    assert secret_watch.leaks_in_logs(tmp_path) == []

    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "bridge.log").write_text(f"sent {text}")
    assert len(secret_watch.leaks_in_logs(tmp_path)) == 1
    # This run's own watch looks through this folder as well.
    (tmp_path / "deep" / "bridge.log").unlink()


@pytest.mark.parametrize("outcome", ["passed", "failed"])
@pytest.mark.usefixtures("watch")
def test_a_test_that_puts_one_out_fails_and_says_so(outcome: str) -> None:
    text = Secret(secrets.token_hex(16)).reveal()
    report = pytest.TestReport(
        "test", ("test.py", 1, "test"), {}, outcome, "why", "call", [("Captured stdout call", f"key {text}")]
    )  # type: ignore[arg-type]

    secret_watch.judge(report)

    assert report.outcome == "failed"
    assert "a secret was put out" in str(report.longrepr) + str(report.sections)
    assert text not in str(report.longrepr)
