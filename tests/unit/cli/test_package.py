"""`ota-bridge package`: whatever the cloud, its package as a table or as JSON, and its errors as sentences."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.cli import asking, run_command
from bridge.clouds.wire import Answer, Request
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.configuration import ConfiguredAccount, write_configuration
from tests.simulated_api import SimulatedApi

NOTHING_TO_TELL = {"tuya-cloud", "illume"}
"""Clouds whose APIs do not speak of packages."""
TELLING = sorted(set(SYSTEMS) - NOTHING_TO_TELL)


class House:
    """A configuration with one account of a simulated cloud, which the command reaches without a network."""

    def __init__(self, cloud: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.api = SimulatedApi(cloud)
        self.folder = folder
        self.file = folder / "ota-bridge.toml"
        self.instead: Callable[[Request], Answer] | None = None
        self.closed = 0
        self.write(self.api.account.name)
        monkeypatch.setattr(asking, "HttpTransport", lambda _settings: self)
        monkeypatch.setattr(asking.time, "time_ns", lambda: self.api.now_ms() * 1_000_000)

    def write(self, *names: str) -> None:
        for name in ("client.pem", "client.key"):
            (self.folder / name).touch()
        with contextlib.chdir(self.folder):
            self.written(names)

    def written(self, names: tuple[str, ...]) -> None:
        tables = self.api.tables
        write_configuration(
            self.file,
            self.file.parent / "secrets",
            bootstrap_servers="localhost:1",
            accounts=[
                ConfiguredAccount(
                    name=name,
                    cloud=self.api.account.cloud,
                    credentials=tables.credentials,
                    gateway=None,
                    api=tables.api,
                )
                for name in names
            ],
        )

    async def send(self, request: Request) -> Answer:
        return await self.api.send(request) if self.instead is None else self.instead(request)

    async def close(self) -> None:
        self.closed += 1

    def run(self, *arguments: str) -> int:
        # Each command logs in; a cloud may refuse two logins of the same millisecond.
        self.api.simulation.advance(1.0)
        # The certificate's place is told relative to the working directory; the log is not configured here.
        with contextlib.chdir(self.folder), capture_logs():
            return run_command(["package", *arguments, "-c", str(self.file)])

    def upgrade(self, devices: int = 60) -> None:
        self.api.simulation.all_of("succeeded", devices)
        self.api.simulation.advance()

    async def named(self) -> set[str]:
        """Ids by which lookups name packages."""
        with capture_logs():
            looked = [await self.api.cloud.lookup(device.device_id) for device in self.api.simulation.fleet]
        return {one.package.id for each in looked for one in each.observations if one.package is not None}


@pytest.fixture(autouse=True)
def any_certificate_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clouds that ask for a certificate are asked without a network here."""
    monkeypatch.setattr("bridge.config.checks.check_client_certificate", lambda *_: None)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house of a cloud whose packages have every state."""
    house = House("hedwig", tmp_path, monkeypatch)
    house.upgrade()
    return house


def id_of(house: House, state: str) -> str:
    packages = house.api.simulation.fleet.jobs.packages
    return next(str(130 + package.number) for package in packages if package.state == state)


@pytest.mark.parametrize("cloud", TELLING)
def test_each_cloud_tells_of_the_packages_that_its_lookups_name(
    cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(cloud, tmp_path, monkeypatch)
    house.upgrade(8)
    named = asyncio.run(house.named())
    assert named

    for package_id in named:
        assert house.run(package_id) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["id"], told["account"], told["cloud"]) == (package_id, house.api.account.name, cloud)
        assert told["version"] in {package.version for package in house.api.simulation.fleet.jobs.packages}
        assert told["state"] in ("usable", "unverified", "checking", "rejected")


@pytest.mark.parametrize("cloud", TELLING)
def test_a_package_that_nobody_knows_is_missing_and_ends_with_5(
    cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house = House(cloud, tmp_path, monkeypatch)

    assert house.run("999999") == 5

    told = json.loads(capsys.readouterr().out)
    assert (told["id"], told["state"], told["cloud"]) == ("999999", "missing", cloud)


@pytest.mark.parametrize("cloud", sorted(NOTHING_TO_TELL & set(SYSTEMS)))
def test_a_cloud_that_tells_nothing_of_packages_is_said_to(
    cloud: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert House(cloud, tmp_path, monkeypatch).run("1") == 2

    shown = capsys.readouterr()
    assert "tells nothing of packages" in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("state", ["usable", "unverified", "checking", "rejected"])
def test_states_are_told_as_json_where_nobody_watches(
    state: str, house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(20):
        house.api.simulation.campaign(20, endings={}, rate_per_s=1000.0, seed=seed)
        house.api.simulation.advance()
    package_id = id_of(house, state)
    package = house.api.simulation.fleet.jobs.packages[int(package_id) - 131]

    assert house.run(package_id, "--account", "hedwig-test") == 0

    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["version"], told["channel"]) == (state, package.version, package.channel)
    assert (told["account"], told["product_id"]) == ("hedwig-test", package.product_id)
    assert told["name"] == f"{package.channel}-{package.version}"
    assert house.closed == 1


def test_people_get_a_table(house: House, capsys: pytest.CaptureFixture[str]) -> None:

    assert house.run(id_of(house, "usable"), "--no-json") == 0

    shown = capsys.readouterr().out
    for words in ("state", "usable", "version", "channel", "default", "hedwig-test (hedwig)", "firmwareSize"):
        assert words in shown


@pytest.mark.parametrize("how", ["--json", "--no-json"])
def test_no_link_to_the_package_and_no_secret_is_shown(
    how: str, house: House, capsys: pytest.CaptureFixture[str]
) -> None:

    house.run(id_of(house, "usable"), how)

    shown = capsys.readouterr()
    secret = house.api.account.credentials.access_key_secret.reveal()  # type: ignore[attr-defined]
    for forbidden in ("OSSAccessKeyId", "Signature", "oss.example.com", secret):
        assert forbidden not in shown.out + shown.err


def test_of_several_accounts_one_has_to_be_named(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.write("one", "two")

    assert house.run("131") == 2
    assert capsys.readouterr().err == "Say which account with --account: one, two.\n"
    assert house.run("131", "--account", "three") == 2
    assert "three is no account with an api. There are: one, two." in capsys.readouterr().err
    assert house.run("131", "--account", "two") == 0
    assert house.api.requests[-1].api == "QueryOTAFirmware"


def test_a_configuration_without_an_api_is_a_mistake(
    house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    (house.file.parent / "key").write_text("k" * 32, encoding="utf-8")
    house.file.write_text(
        "[accounts.pushes]\ncloud = 'tuya-cloud'\naccess_id = 'i'\naccess_key_file = 'key'\n"
        "gateway = { url = 'pulsar+ssl://localhost:1', subscription = 's' }\n",
        encoding="utf-8",
    )

    assert house.run("131") == 2
    assert "No account has an api" in capsys.readouterr().err


def answers(status: int, body: dict[str, Any] | bytes) -> Callable[[Request], Answer]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda _request: Answer(status=status, headers={}, body=text)


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ((403, {"Code": "Forbidden.RAM", "Message": "not for you"}), 3, "Remedy: grant the access key"),
        ((400, {"Code": "SignatureDoesNotMatch", "Message": "no"}), 3, "access_key_secret_file or api.url."),
        ((200, {"success": False, "code": "iot.prod.NotExistedProduct"}), 5, "Try again later"),
        ((200, b"<QueryOTAFirmwareResponse/>"), 5, "Format=JSON"),
    ],
)
def test_what_the_cloud_says_is_one_sentence_with_its_exit_code(
    answer: Any,
    code: int,
    words: str,
    house: House,
    capsys: pytest.CaptureFixture[str],
) -> None:
    house.instead = answers(*answer)

    assert house.run("131") == code

    told = capsys.readouterr().err
    assert told.startswith("hedwig-test: QueryOTAFirmware: ")
    assert words in told
    assert "start the bridge" not in told
    assert (told.count("\n"), house.closed) == (1, 1)


def test_a_cloud_that_does_not_answer_ends_with_4(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    house.instead = answers(503, b"upstream error")
    monkeypatch.setattr("bridge.clouds.retry.wait_s", lambda *_: 0.0)

    assert house.run("131") == 4

    assert "not JSON, HTTP status 503" in capsys.readouterr().err
