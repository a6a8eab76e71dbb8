"""`ota-bridge decrypt`: every form a message is captured in, what is told of it, and never the key."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.cli import run_command
from bridge.cli.options import KEY_VARIABLE
from consumer.captured import NOWHERE, CapturedMessage, Judgement, judge
from schemas import DeadLetter
from schemas.vocabulary import DeadLetterReason
from tests.gateway_messages import (
    ACCESS_KEY,
    PREVIOUS_KEY,
    RECEIVED_AT_MS,
    account,
    compact,
    envelope,
    sealed,
    signed,
    upgrade_status,
)

BODY = upgrade_status("d1", "41", description="at 5 %")

Run = Callable[..., tuple[int, str, str]]


def words(enumeration: Any) -> list[str]:
    """The examples of an open enumeration."""
    (meta,) = enumeration.__metadata__
    return list(meta.examples)


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    file = tmp_path / "key.txt"
    file.write_text(ACCESS_KEY + "\n")
    return str(file)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command with a message on standard input."""

    def run(message: bytes, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(message)))
        monkeypatch.chdir(tmp_path)
        code = run_command(["decrypt", *arguments])
        shown = capsys.readouterr()
        for key in (ACCESS_KEY, PREVIOUS_KEY):
            assert key not in shown.out + shown.err
        return code, shown.out, shown.err

    return run


def letter(payload: bytes, **changes: Any) -> DeadLetter:
    """The dead letter that a message becomes when the bridge has the wrong key."""
    wrong = msgspec.structs.replace(account(), access_key=type(account().access_key)("x" * 32))
    found = judge(wrong, CapturedMessage(payload, {"em": "aes_gcm"}, NOWHERE), RECEIVED_AT_MS).dead_letter
    assert found is not None
    return msgspec.structs.replace(found, **changes)


def forms() -> dict[str, tuple[bytes, list[str]]]:
    payload = sealed(BODY)
    record = msgspec.json.encode(letter(payload))
    frame = {"payload": base64.b64encode(payload).decode(), "properties": {"em": "aes_gcm"}, "messageId": "x"}
    return {
        "envelope": (payload, ["--em", "aes_gcm"]),
        "envelope with a line end": (payload + b"\n", ["--em", "aes_gcm"]),
        "dead letter": (record, []),
        "line of listen": (b'{"type":"dead_letter","dead_letter":' + record + b"}\n", []),
        "frame of the WebSocket": (json.dumps(frame).encode(), []),
        "ecb": (sealed(BODY, em="aes_ecb"), []),
    }


@pytest.mark.parametrize("form", forms())
def test_every_captured_form_is_read(form: str, run: Run, key_file: str) -> None:
    message, options = forms()[form]

    code, out, _ = run(message, "--access-key-file", key_file, "--json", *options)

    told = json.loads(out)
    assert code == 0
    assert told["body"] == BODY
    assert told["signature"] == {"account": "given", "key": "current", "rule": "all_fields"}
    assert (told["refusals"], told["dead_letter"]) == ([], None)
    (observation,) = told["observations"]
    assert (observation["status"], observation["claimed"]) == ("verifying", "failed")


def test_people_see_who_signed_it_what_it_means_and_the_body(run: Run, key_file: str) -> None:
    code, out, _ = run(sealed(BODY), "--em", "aes_gcm", "--access-key-file", key_file, "--no-json")

    assert code == 0
    told = " ".join(out.split())
    assert "signature all_fields, by the key given" in told
    assert "verifying claims failed (41) low_battery: at 5 %" in told
    assert json.loads(out[out.index("{") :]) == BODY


def test_a_message_that_cannot_be_decrypted_ends_with_5_and_the_reason_in_words(
    run: Run, key_file: str
) -> None:
    code, out, _ = run(
        sealed(BODY, key="y" * 32), "--em", "aes_gcm", "--access-key-file", key_file, "--no-json"
    )
    assert code == 5
    told = " ".join(out.split())
    assert "made by none of the keys tried" in told
    assert "bad_signature: none of the access keys given signed this envelope" in told
    assert "undecryptable: aes_gcm: the tag does not match" in told
    assert "no known key signed it, and none opens it: check the key given." in told
    assert "sign_policy" not in told
    assert "access_key_file" not in told

    code, out, _ = run(sealed(BODY, key="y" * 32), "--em", "aes_gcm", "--access-key-file", key_file, "--json")
    assert code == 5
    assert [refusal["reason"] for refusal in json.loads(out)["refusals"]] == [
        "bad_signature",
        "undecryptable",
    ]


def test_without_em_it_is_ecb_and_the_em_that_would_open_it_is_told(run: Run, key_file: str) -> None:
    code, out, _ = run(sealed(BODY), "--access-key-file", key_file, "--no-json")
    assert code == 5
    assert "with --em aes_gcm it can be read." in out

    code, out, _ = run(sealed(BODY), "--access-key-file", key_file, "--json")
    assert (code, json.loads(out)["opens_with"]) == (5, "aes_gcm")


def test_what_is_decrypted_but_not_rightly_signed_or_not_understood_ends_with_5(
    run: Run, key_file: str
) -> None:
    unsigned = compact(envelope(BODY) | {"sign": "0" * 32})
    code, out, _ = run(unsigned, "--em", "aes_gcm", "--access-key-file", key_file, "--json")
    told = json.loads(out)
    assert (code, told["body"], told["dead_letter"]) == (5, BODY, "bad_signature")

    nobody = sealed({"bizCode": "upgradeStatus", "bizData": {}})
    code, out, _ = run(nobody, "--em", "aes_gcm", "--access-key-file", key_file, "--json")
    told = json.loads(out)
    assert (code, told["refusals"], told["dead_letter"]) == (5, [], "unknown_shape")


def refused() -> dict[str, bytes]:
    """A message for each reason to make a dead letter of it."""
    fields = envelope(BODY)
    unsigned = {name: value for name, value in fields.items() if name != "sign"}
    strange = msgspec.structs.replace(letter(sealed(BODY)), properties={"em": "aes_siv"})
    return {
        "too_large": sealed(BODY | {"padding": "x" * 1024 * 1024}),
        "malformed_envelope": b"{",
        "duplicate_key": sealed(BODY).replace(b'"pv":', b'"t":1,"pv":', 1),
        "missing_signature": compact(unsigned),
        "bad_signature": compact(fields | {"sign": "0" * 32}),
        "unknown_encryption": msgspec.json.encode(strange),
        "undecryptable": compact(signed({**unsigned, "data": "AAAA"})),
        "malformed_body": sealed(b"[]"),
        "unknown_shape": sealed({"bizCode": "upgradeStatus", "bizData": {}}),
        "id_conflict": sealed(BODY | {"devId": "d2"}),
        "internal_error": sealed(BODY),
    }


@pytest.mark.parametrize("reason", [*words(DeadLetterReason)])
def test_every_reason_to_refuse_a_message_is_told_with_what_to_do(
    reason: str, run: Run, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused()[reason]
    if reason == "internal_error":
        defect = Judgement(dead_letter=letter(message, reason=reason, detail="TypeError"))
        monkeypatch.setattr("bridge.cli.decrypt.judge", lambda *_: defect)
    options = ["--access-key-file", key_file]
    if reason != "unknown_encryption":
        options += ["--em", "aes_gcm"]

    code, out, _ = run(message, *options, "--json")
    told = json.loads(out)
    in_words = " ".join(run(message, *options, "--no-json")[1].split())

    assert (code, told["dead_letter"]) == (5, reason)
    assert told["dead_letter_remedy"]
    assert f"{told['dead_letter_remedy']}." in in_words
    assert "another version" not in in_words
    # Each remedy is said once.
    for refusal in told["refusals"]:
        assert in_words.count(f"{refusal['remedy']}.") == 1
        assert refusal["remedy"]
    # Nobody is sent to where they are.
    assert "ota-bridge decrypt" not in in_words


@pytest.mark.parametrize("em", ["aes_gcm", "aes_ecb"])
def test_a_wrong_signature_on_what_opens_is_no_reason_to_take_what_is_changed(
    em: str, run: Run, key_file: str
) -> None:
    changed = compact(envelope(BODY) | {"t": RECEIVED_AT_MS - 1})

    # With the wrong em, too: with the other one it opens.
    _, out, _ = run(changed, "--em", em, "--access-key-file", key_file, "--json")
    told = {refusal["reason"]: refusal["remedy"] for refusal in json.loads(out)["refusals"]}

    assert told["bad_signature"].startswith(
        "a known key opens it, so that one is right: the message was changed on its"
    )
    assert "only where all messages of the project fail" in told["bad_signature"]


def test_where_the_signature_is_right_it_is_told_that_the_key_is(run: Run, key_file: str) -> None:
    fields = envelope(BODY)
    damaged = signed({name: fields[name] for name in ("protocol", "pv", "t")} | {"data": "AAAA"})

    code, out, _ = run(compact(damaged), "--em", "aes_gcm", "--access-key-file", key_file, "--no-json")

    assert code == 5
    assert "the signature is right, so the key is: check --em" in out


def test_half_a_message_is_told_to_be_taken_whole(run: Run, key_file: str) -> None:
    code, out, _ = run(sealed(BODY)[:-40], "--access-key-file", key_file, "--no-json")

    assert code == 5
    assert "malformed_envelope: not JSON" in out
    assert "take it whole, from the first { to the last }" in out


def test_the_keys_of_the_configured_accounts_are_tried(run: Run, tmp_path: Path) -> None:
    tables = ""
    for name, key in (("one", "y" * 32), ("two", PREVIOUS_KEY)):
        (tmp_path / f"{name}.txt").write_text(key)
        tables += (
            f"[accounts.{name}]\ncloud = 'tuya-cloud'\naccess_id = '{name}'\naccess_key_file = '{name}.txt'\n"
            f"[accounts.{name}.gateway]\nurl = 'pulsar+ssl://localhost:1'\nsubscription = '{name}-sub'\n"
        )
    (tmp_path / "ota-bridge.toml").write_text(tables)
    message = sealed(BODY, key=PREVIOUS_KEY)

    code, out, _ = run(message, "--em", "aes_gcm", "--json")
    assert (code, json.loads(out)["signature"]["account"]) == (0, "two")

    code, out, _ = run(message, "--em", "aes_gcm", "--json", "--account", "one")
    assert (code, json.loads(out)["signature"]) == (5, None)

    code, _, complaint = run(message, "--account", "three")
    assert code == 2
    assert "one, two" in complaint


def test_the_key_may_come_from_the_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, ACCESS_KEY)

    assert run(sealed(BODY), "--em", "aes_gcm", "--json")[0] == 0


def test_a_message_may_be_in_a_file(run: Run, key_file: str, tmp_path: Path) -> None:
    file = tmp_path / "message.json"
    file.write_bytes(sealed(BODY))

    assert run(b"", str(file), "--em", "aes_gcm", "--access-key-file", key_file)[0] == 0
    code, _, complaint = run(b"", str(tmp_path / "missing.json"), "--access-key-file", key_file)
    assert code == 2
    assert f"no such file in {tmp_path}" in complaint


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b" \n", "There is no message"),
        (msgspec.json.encode(letter(b"x" * 100, payload_bytes=300_000)), "was cut: 100 of 300000 bytes"),
        (
            msgspec.json.encode(letter(b"{}", source_position="observations/3:17")),
            "`ota-bridge dead-letters show`",
        ),
    ],
)
def test_what_holds_no_message_ends_with_5_and_says_why(
    message: bytes, told: str, run: Run, key_file: str
) -> None:
    code, _, complaint = run(message, "--access-key-file", key_file)

    assert code == 5
    assert told in complaint


def test_a_missing_or_impossible_key_ends_with_2(run: Run, tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("short")

    assert "too short" in run(sealed(BODY), "--access-key-file", str(short))[2]
    code, _, complaint = run(sealed(BODY), "--access-key-file", str(tmp_path / "missing.txt"))
    assert (code, f"--access-key-file: no such file in {tmp_path}" in complaint) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--access-key-file", ACCESS_KEY],
        [ACCESS_KEY, "--access-key-file", "key.txt"],
        [f"--access-key={ACCESS_KEY}"],
        [f"--key-{ACCESS_KEY}"],
        ["--account", ACCESS_KEY, "-c", "ota-bridge.toml"],
        ["-c", ACCESS_KEY],
        ["{" + f'"sign":"{ACCESS_KEY}"' + "}" * 300, "--access-key-file", "key.txt"],
    ],
)
def test_a_secret_pasted_in_the_wrong_place_is_not_repeated(
    arguments: list[str], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "key.txt").write_text(ACCESS_KEY)
    (tmp_path / "ota-bridge.toml").write_text(
        "[accounts.one]\ncloud = 'tuya-cloud'\naccess_id = 'one'\naccess_key_file = 'key.txt'\n"
        "[accounts.one.gateway]\nurl = 'pulsar+ssl://localhost:1'\nsubscription = 'one-sub'\n"
    )

    code, _, complaint = run(b"", *arguments)

    assert (code, bool(complaint)) == (2, True)


def test_without_a_key_the_options_for_it_are_named(run: Run) -> None:
    code, _, complaint = run(sealed(BODY))

    assert code == 2
    assert complaint.startswith(
        "No key to try. Name the file that holds the Access Secret with --access-key-file"
    )


def test_a_body_cannot_command_the_terminal(run: Run, key_file: str) -> None:
    spoilt = upgrade_status("d1", "4", description="\x9b2J\x1b[2J\u202e")

    for form in ("--no-json", "--json"):
        _, out, _ = run(sealed(spoilt), "--em", "aes_gcm", "--access-key-file", key_file, form)
        assert not {"\x9b", "\x1b", "\u202e"} & set(out)
    assert json.loads(out)["body"] == spoilt


def test_the_command_needs_no_gateway_client() -> None:
    script = (
        "import sys; import bridge.cli.decrypt;"
        "sys.exit(', '.join(sorted({'pulsar', '_pulsar', 'httpx'} & set(sys.modules))) or 0)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
