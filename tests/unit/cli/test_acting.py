"""The commands that change something at a cloud: they ask, send once, and say what is known of how it went."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import acting, run_command
from bridge.clouds.wire import Answer, Request
from consumer.secret import Secret
from deploy.sandbox.cloud.illume.account import IllumeAccount
from deploy.sandbox.cloud.illume.rest import IllumeRest
from deploy.sandbox.cloud.tuya.account import TuyaAccount
from deploy.sandbox.cloud.tuya_cloud.rest import TuyaCloudRest
from deploy.sandbox.configuration import ConfiguredAccount, write_configuration
from tests.simulated_api import SimulatedApi

ACTING = ("/firmware/0", "/ota/open/upgrade", "/ota/tobeupgraded/roomid")


class House:
    """A configuration with one account of a simulated cloud, which the commands reach without a network."""

    def __init__(self, cloud: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = SimulatedApi(cloud)
        self.file = folder / "ota-bridge.toml"
        self.instead: Callable[[Request], Answer | None] = lambda _request: None
        self.device = self.api.simulation.fleet.create()
        self.account = self.api.simulation.tenant.account
        assert isinstance(self.account, TuyaAccount)
        self.write([self.account])
        monkeypatch.setattr(acting, "HttpTransport", lambda _settings: self)

    def write(self, accounts: list[Any]) -> None:
        write_configuration(
            self.file,
            self.file.parent / "secrets",
            bootstrap_servers="localhost:1",
            accounts=[
                ConfiguredAccount(
                    name=account.name,
                    cloud=account.cloud,
                    credentials=self.api.tables.credentials,
                    gateway=None,
                    api=self.api.tables.api,
                )
                for account in accounts
            ],
        )

    async def send(self, request: Request) -> Answer:
        instead = self.instead(request)
        if instead is not None:
            self.api.requests.append(request)
            return instead
        return await self.api.send(request)

    async def close(self) -> None:
        pass

    def run(self, *arguments: str) -> int:
        return run_command([*arguments, "-c", str(self.file)])

    def acted(self) -> list[Request]:
        return [request for request in self.api.requests if request.target.partition("?")[0].endswith(ACTING)]

    @property
    def project(self) -> str:
        assert isinstance(self.account, IllumeAccount)
        return self.account.project_of(self.device)

    @property
    def room(self) -> str:
        assert isinstance(self.account, IllumeAccount)
        return self.account.room_of(self.device)

    def command(self) -> list[str]:
        """The state-changing command of the house's cloud."""
        if isinstance(self.account, IllumeAccount):
            return ["device", "upgrade", self.device.device_id, "--project", self.project]
        return ["device", "confirm", self.device.device_id, "--channel", "0"]


@pytest.fixture(params=["tuya-cloud", "illume"])
def house(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House(request.param, tmp_path, monkeypatch)


@pytest.fixture
def lighting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    return House("illume", tmp_path, monkeypatch)


def answer_at_terminal(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    terminal = io.StringIO(typed)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)


def failed(code: int, text: str = "no") -> Answer:
    body = json.dumps({"success": False, "code": code, "msg": text}).encode()
    return Answer(status=200, headers={}, body=body)


def at_action(answer: Answer) -> Callable[[Request], Answer | None]:
    return lambda request: answer if request.target.partition("?")[0].endswith(ACTING) else None


def test_nothing_is_sent_without_a_yes(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    assert house.run(*house.command()) == 2

    assert house.api.requests == []
    assert "--yes" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["n\n", "\n", "", "yesterday\n"])
def test_anything_but_a_yes_is_a_no(house: House, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_at_terminal(monkeypatch, typed)

    assert house.run(*house.command()) == 0

    assert house.api.requests == []


def test_a_yes_at_the_terminal_acts_once(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_at_terminal(monkeypatch, "y\n")

    assert house.run(*house.command(), "--no-json") == 0

    shown = capsys.readouterr()
    assert len(house.acted()) == 1
    assert house.device.device_id in shown.err
    assert f"ota-bridge state {house.device.device_id}" in shown.out


def test_confirm_names_device_and_channel_in_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House("tuya-cloud", tmp_path, monkeypatch)

    assert house.run(*house.command(), "--yes") == 0

    (request,) = house.acted()
    assert (request.method, request.target, request.body) == (
        "POST",
        f"/v2.0/cloud/thing/{house.device.device_id}/firmware/0",
        b"",
    )
    assert isinstance(house.api.rest, TuyaCloudRest)
    assert house.api.rest.confirmed == [(house.device.device_id, "0")]
    assert json.loads(capsys.readouterr().out)["confirmed"] is True


def test_upgrade_names_each_device_once_in_a_signed_body(
    lighting: House, capsys: pytest.CaptureFixture[str]
) -> None:
    lighting.api.simulation.fleet.create()
    third = lighting.api.simulation.fleet.create()
    devices = [lighting.device.device_id, third.device_id, lighting.device.device_id]

    assert lighting.run("device", "upgrade", *devices, "--project", lighting.project, "--yes") == 0

    assert isinstance(lighting.api.rest, IllumeRest)
    assert lighting.api.rest.upgrades == [(lighting.device.device_id, third.device_id)]
    assert json.loads(capsys.readouterr().out)["accepted"] == devices[:2]


def test_an_acceptance_with_a_false_result_is_an_acceptance(lighting: House) -> None:
    lighting.instead = at_action(
        Answer(status=200, headers={}, body=b'{"success":true,"t":1573441137,"result":false}')
    )

    assert lighting.run(*lighting.command(), "--yes") == 0


def test_a_confirmation_without_a_true_result_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House("tuya-cloud", tmp_path, monkeypatch)
    house.instead = at_action(Answer(status=200, headers={}, body=b'{"success":true,"result":false}'))

    assert house.run(*house.command(), "--yes") == 3

    assert "does not say that the upgrade began" in capsys.readouterr().err


def test_many_devices_go_in_several_calls_and_a_failure_tells_how_many_were_accepted(
    lighting: House, capsys: pytest.CaptureFixture[str]
) -> None:
    devices = [f"device-{number}" for number in range(250)]
    accepted = Answer(status=200, headers={}, body=b'{"success":true,"t":1573441137,"result":false}')
    answers = iter([accepted, accepted, failed(28841101, "not subscribed")])
    lighting.instead = lambda request: next(answers) if request.target.endswith("/ota/open/upgrade") else None

    assert lighting.run("device", "upgrade", *devices, "--project", "p", "--yes") == 3

    told = capsys.readouterr().err
    assert "The first 200 of 250 devices were accepted, up to device-199" in told
    assert "Nothing was done." in told
    assert [len(json.loads(request.body)["device_ids"]) for request in lighting.acted()] == [100, 100, 50]


def test_a_space_is_synced_by_whichever_way_the_deployment_takes(lighting: House) -> None:
    assert lighting.run("space", "sync", lighting.room, "--project", lighting.project, "--yes") == 0

    assert isinstance(lighting.api.rest, IllumeRest)
    assert lighting.api.rest.synced == [lighting.room]
    assert [bool(request.body) for request in lighting.acted()] == [False, True], (
        "refused by query, then by body"
    )


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        pytest.param(failed(2010), 5, "Nothing was done.", id="unknown device"),
        pytest.param(failed(1106), 3, "Nothing was done.", id="forbidden"),
        pytest.param(failed(2001), 3, "Nothing was done.", id="offline"),
        pytest.param(failed(1110), 3, "Try again in a minute", id="throttled"),
        pytest.param(failed(1004), 3, "access_key_file", id="signature"),
        pytest.param(failed(500), 4, "It is not known", id="system error"),
        pytest.param(failed(987654), 5, "It is not known", id="unknown code"),
        pytest.param(Answer(status=502, headers={}, body=b"<html>"), 4, "It is not known", id="5xx"),
    ],
)
def test_a_refusal_says_whether_anything_was_done_and_nothing_is_repeated(
    house: House, answer: Answer, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    house.instead = at_action(answer)

    assert house.run(*house.command(), "--yes") == code

    shown = capsys.readouterr()
    assert told in shown.err
    assert len(house.acted()) == 1
    secret = house.api.tables.credentials.access_key  # type: ignore[attr-defined]
    assert isinstance(secret, Secret)
    assert secret.reveal() not in shown.err + shown.out


def test_a_login_that_fails_did_nothing(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.instead = lambda _request: Answer(status=502, headers={}, body=b"<html>")

    assert house.run(*house.command(), "--yes") == 4

    told = capsys.readouterr().err
    assert "Nothing was done. Remedy: try again later; if it lasts, check accounts." in told
    assert ".api.url, and that its host can be reached." in told
    assert house.acted() == []


def test_an_expired_token_is_mended_before_anything_is_done(house: House) -> None:
    answers = iter([failed(1010, "token invalid")])
    house.instead = lambda request: (
        next(answers, None) if request.target.partition("?")[0].endswith(ACTING) else None
    )

    assert house.run(*house.command(), "--yes") == 0

    assert len(house.acted()) == 2


def test_a_project_has_to_be_named_where_there_are_several(
    lighting: House, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lighting.run("device", "upgrade", "d1", "--yes") == 2
    assert lighting.run("space", "sync", "r1", "--yes") == 2

    assert lighting.api.requests == []
    assert lighting.project in capsys.readouterr().err


def test_the_account_has_to_be_of_the_commands_cloud(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    command = house.command()
    other = (
        ["device", "confirm", "d", "--channel", "0"] if command[1] == "upgrade" else ["space", "sync", "r"]
    )

    assert house.run(*other, "--yes") == 2
    assert house.run(*command, "--account", "nobody", "--yes") == 2

    assert house.api.requests == []
    assert "nobody is no account of cloud" in capsys.readouterr().err
