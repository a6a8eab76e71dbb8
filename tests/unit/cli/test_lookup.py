"""`ota-bridge lookup` without a broker: whose device it is, asking directly, what is shown, how failures end."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bridge.cli import lookup as command
from bridge.cli import lookup_direct, run_command
from bridge.cli.looked_lines import looked_tables
from bridge.cli.lookup_answer import Answered
from bridge.cli.lookup_request import _answered
from bridge.cli.remedies import remedy_for_command
from bridge.clouds.errors import REMEDIES
from bridge.clouds.registry import open_cloud
from bridge.clouds.settings import secrets_of
from bridge.clouds.shape import Cloud, Means
from schemas import Observation, ObservedEvidence, Package, Reason
from tests.simulated_api import SimulatedApi

ACCOUNT = "oceanconnect-test"


def observation(**changes: Any) -> Observation:
    fields: dict[str, Any] = {
        "device_id": "d1",
        "cloud": "oceanconnect",
        "account": ACCOUNT,
        "channel": "firmware",
        "kind": "status",
        "status": "failed",
        "vendor_status": "fail",
        "lookup_id": "another",
        "asked_at_ms": 1000,
        "observed_at_ms": 1001,
        "evidence": ObservedEvidence(origin="lookup", name="sub-operations", raw={"status": "fail"}),
    }
    return Observation(**fields | changes)


def answer(**changes: Any) -> Observation:
    fields: dict[str, Any] = {"kind": "answer", "channel": None, "status": None, "vendor_status": None}
    return observation(**fields | {"lookup_id": "mine", "outcome": "ok"} | changes)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> SimulatedApi:
    """A cloud with one failed device, in place of the one that the configuration names."""
    api = SimulatedApi("oceanconnect")
    api.simulation.all_of("failed", 1)
    api.simulation.advance()

    class Transport:
        def __init__(self, _settings: object) -> None:
            self.send = api.send

        async def close(self) -> None:
            pass

    def opened(account: Any, means: Means) -> Cloud:
        return open_cloud(
            account, Means(transport=means.transport, pace=api, now_ms=api.now_ms, sleep=api.sleep)
        )

    monkeypatch.setattr(lookup_direct, "HttpTransport", Transport)
    monkeypatch.setattr(lookup_direct, "open_cloud", opened)
    monkeypatch.setattr(command, "load_accounts_with_api", lambda _config: {ACCOUNT: api.account})
    return api


def device_of(api: SimulatedApi) -> str:
    (truth,) = api.simulation.truths()
    return str(truth["device_id"])


def shown(answered: Answered) -> str:
    screen = Console(width=300, record=True)
    with screen.capture() as captured:
        for part in looked_tables(answered):
            screen.print(part)
    return " ".join(captured.get().split())


def test_a_direct_lookup_shows_our_words_beside_the_vendor_s(
    api: SimulatedApi, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command(["lookup", device_of(api), "--direct", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 0
    assert (told["outcome"], told["via"], told["account"]) == ("ok", "direct", ACCOUNT)
    words = {(each["status"], each.get("vendor_status")) for each in told["observations"]}
    assert words == {("failed", "fail"), ("idle", None)}


def test_a_direct_lookup_asks_for_the_package_that_it_names(
    api: SimulatedApi, capsys: pytest.CaptureFixture[str]
) -> None:
    run_command(["lookup", device_of(api), "--direct", "--json"])

    packages = [
        each["package"] for each in json.loads(capsys.readouterr().out)["observations"] if "package" in each
    ]
    assert [package["state"] for package in packages] == ["usable"]


def test_a_lookup_on_a_terminal_is_a_table(api: SimulatedApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lookup", device_of(api), "--direct", "--no-json"]) == 0

    text = capsys.readouterr().out
    assert "failed" in text
    assert "this process" in text
    assert "status=fail" in text


@pytest.mark.usefixtures("api")
def test_an_unknown_device_ends_with_5(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["lookup", "no-such-device", "--direct", "--no-json"])

    text = capsys.readouterr().err
    assert code == 5
    assert "not_found" in text
    assert "123002" in text


@pytest.mark.usefixtures("api")
def test_as_json_a_failure_is_told_in_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["lookup", "no-such-device", "--direct", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert code == 5
    assert (told["outcome"], told["error"], told["code"]) == ("not_found", "not_found", "123002")


@pytest.mark.parametrize(("knob", "code"), [("rest_5xx", 4), ("rest_html", 4)])
def test_a_cloud_that_does_not_answer_ends_with_4(
    api: SimulatedApi, capsys: pytest.CaptureFixture[str], knob: str, code: int
) -> None:
    api.simulation.faults.replace({knob: 1.0})

    assert run_command(["lookup", device_of(api), "--direct", "--no-json"]) == code
    told = capsys.readouterr().err
    assert "retry" in told
    assert f"Remedy: try again later; if it lasts, check accounts.{ACCOUNT}.api.url" in told


@pytest.mark.parametrize(
    "remedy",
    [
        *REMEDIES.values(),
        "correct the account's api.url, and start the bridge again",
        "name the PEM files of a certificate and of its key without a password, and start the bridge again",
    ],
)
def test_a_command_s_remedy_speaks_of_no_bridge_and_of_the_account_by_name(remedy: str) -> None:
    told = remedy_for_command(remedy, "my-project")

    assert told
    for daemons in ("by itself", "start the bridge", "noticed within", "account's api."):
        assert daemons not in told


def test_no_secret_is_shown(api: SimulatedApi, capsys: pytest.CaptureFixture[str]) -> None:
    run_command(["lookup", device_of(api), "--direct", "--no-json"])
    run_command(["lookup", device_of(api), "--direct", "--json"])
    run_command(["lookup", "no-such-device", "--direct", "--no-json"])

    text = "".join(capsys.readouterr())
    tokens = [
        request.headers["authorization"] for request in api.requests if "authorization" in request.headers
    ]
    secrets = [secret.reveal() for secret in secrets_of(api.account.credentials)]
    assert tokens
    assert not [secret for secret in (*secrets, *tokens) if secret.removeprefix("Bearer ") in text]


@pytest.mark.parametrize(
    "names", [(), ("one", "two")], ids=["no account has an API", "several have, and none is named"]
)
def test_without_an_account_there_has_to_be_exactly_one(
    api: SimulatedApi,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    names: tuple[str, ...],
) -> None:
    accounts = dict.fromkeys(names, api.account)
    monkeypatch.setattr(command, "load_accounts_with_api", lambda _config: accounts)

    assert run_command(["lookup", "d1"]) == 2
    assert "--account" in capsys.readouterr().err


@pytest.mark.usefixtures("api")
def test_an_account_that_is_not_there_is_told_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["lookup", "d1", "--account", "another"]) == 2
    assert ACCOUNT in capsys.readouterr().err


def test_an_account_without_an_api_cannot_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ota-bridge.toml"
    file.write_text("[kafka]\nbootstrap_servers = 'localhost:1'\n")

    assert run_command(["lookup", "d1", "-c", str(file)]) == 2
    assert "names no account" in capsys.readouterr().err


def test_the_bridge_s_answer_is_what_was_told_by_the_same_asking(api: SimulatedApi) -> None:
    before = deque(
        [
            observation(asked_at_ms=500),
            observation(account="another-account"),
            observation(lookup_id=None),
            answer(lookup_id="another"),
            observation(),
            observation(channel="software", status="idle", vendor_status=None),
        ]
    )

    answered = _answered(api.account, answer(), before)

    assert [each.channel for each in answered.observations] == ["firmware", "software"]
    assert (answered.outcome, answered.error, answered.via) == ("ok", None, "bridge")


def test_the_bridge_s_refusal_keeps_the_vendor_s_code_and_words(api: SimulatedApi) -> None:
    told = ObservedEvidence(
        origin="lookup", name="operations", raw={"code": "100217", "msg": "not authorised"}
    )

    answered = _answered(
        api.account, answer(outcome="unavailable", error="forbidden", evidence=told), deque()
    )

    assert (answered.error, answered.code, answered.text) == ("forbidden", "100217", "not authorised")
    assert answered.remedy


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "failed fail"),
        ({"kind": "versions", "status": None, "vendor_status": "99"}, "no status of ours 99"),
        ({"progress": 30}, "30 %"),
        ({"undivided": True}, "download or installation"),
        ({"needs_confirmation": True}, "waits for confirmation"),
        ({"reason": Reason(code="unknown_error", text="flash full")}, "unknown_error: flash full"),
        ({"package": Package(id="f1", state="missing")}, "package f1 missing"),
        ({"current_version": "1.0", "target_version": "2.0", "task_id": "t9"}, "1.0 2.0 t9"),
        ({"reason": Reason(code="unknown_error", text="\x1b[2J")}, "unknown_error: �[2J"),
    ],
)
def test_each_thing_told_is_in_the_table(changes: dict[str, Any], text: str) -> None:
    answered = Answered(
        device_id="d1",
        account=ACCOUNT,
        cloud="oceanconnect",
        via="bridge",
        api="sub-operations",
        asked_at_ms=1000,
        outcome="ok",
        observations=(observation(**changes),),
    )

    assert text in shown(answered)


def test_an_answer_that_tells_nothing_says_so() -> None:
    answered = Answered(
        device_id="d1", account=ACCOUNT, cloud="tuya-cloud", via="direct", api="firmware", outcome="ok"
    )

    assert "nothing about its firmware" in shown(answered)
