"""One account's gateway for `listen`: options over environment over file, and never the daemon's by accident."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from bridge.config import ConfigurationError, ListenedGateway, load_gateway
from bridge.config.environment import FromEnvironment
from consumer.secret import Secret

TABLES = """
[accounts.demo]
cloud = "tuya-cloud"
access_id = "demo-id"
access_key_file = "key.txt"
[accounts.demo.gateway]
url = "pulsar+ssl://gateway.example.com:7285"
subscription = "demo-id-sub"
sign_policy = "warn"
"""
ONLY_OPTIONS = {
    "access_id": "other-id",
    "access_key": FromEnvironment("KEY", "another-secret-access-key"),
    "gateway.url": "pulsar+ssl://other.example.com:7285",
    "gateway.subscription": "other-id-sub",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "key.txt").write_text("a-very-secret-access-key\n")
    file = tmp_path / "ota-bridge.toml"
    file.write_text(TABLES)
    return file


def loaded(
    file: Path,
    given: Mapping[str, object] | None = None,
    name: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> ListenedGateway:
    return load_gateway(file, name, given or {}, optional_file=True, environment=environment or {})


def mistakes(*arguments: object, **options: object) -> dict[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(*arguments, **options)  # type: ignore[arg-type]
    return {problem.path: f"{problem.what}. {problem.remedy}" for problem in caught.value.problems}


def test_a_file_without_kafka_is_enough_and_its_subscription_is_the_daemons(file: Path) -> None:
    listened = loaded(file)

    assert (listened.account.name, listened.account.access_id) == ("demo", "demo-id")
    assert listened.account.access_key == Secret("a-very-secret-access-key")
    assert listened.account.gateway.sign_policy == "warn"
    assert listened.is_daemons


def test_options_lie_over_environment_over_file(file: Path) -> None:
    environment = {
        "OTA_BRIDGE__ACCOUNTS__DEMO__GATEWAY__SUBSCRIPTION": "from-environment",
        "OTA_BRIDGE__ACCOUNTS__DEMO__GATEWAY__TOPICS": "event-test",
    }

    listened = loaded(file, {"gateway.subscription": "from-options"}, environment=environment)

    assert listened.account.gateway.subscription == "from-options"
    assert listened.account.gateway.topics == ("event-test",)
    assert not listened.is_daemons
    assert loaded(file, environment=environment).is_daemons


def test_options_alone_describe_an_account(tmp_path: Path) -> None:
    listened = loaded(tmp_path / "missing.toml", ONLY_OPTIONS)

    assert (listened.account.name, listened.account.cloud) == ("listen", "tuya-cloud")
    assert listened.account.access_key == Secret("another-secret-access-key")
    assert not listened.is_daemons


def test_options_alone_leave_a_configured_account_out_but_know_its_subscription(file: Path) -> None:
    assert loaded(file, ONLY_OPTIONS).account.gateway.sign_policy == "require"
    same = ONLY_OPTIONS | {"access_id": "demo-id", "gateway.subscription": "demo-id-sub"}
    assert loaded(file, same).is_daemons


def test_a_key_from_the_options_replaces_the_configured_file(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the-other-secret-access-key")
    environment = {"OTA_BRIDGE__ACCOUNTS__DEMO__ACCESS_KEY": "from-the-environment-24-long"}
    (tmp_path / "key.txt").unlink()
    with_key_file = {"access_key_file": str(other)}

    assert loaded(file, with_key_file).account.access_key == Secret("the-other-secret-access-key")
    file.write_text(TABLES.replace('access_key_file = "key.txt"', ""))
    assert loaded(file, with_key_file, environment=environment).account.access_key == Secret(
        "the-other-secret-access-key"
    )


def test_mistakes_of_the_api_and_of_other_accounts_are_not_in_the_way(file: Path) -> None:
    file.write_text(
        TABLES + '[accounts.demo.api]\nurl = "no address"\n[accounts.broken]\ncloud = 7\n[kafka]\nx = 1\n'
    )

    assert loaded(file).account.name == "demo"


def test_with_several_accounts_one_has_to_be_chosen(file: Path) -> None:
    file.write_text(TABLES + TABLES.replace("demo", "zweite").replace("key.txt", "key.txt"))

    assert "demo, zweite. Choose one with --account" in mistakes(file)["accounts"]
    assert loaded(file, name="zweite").account.access_id == "zweite-id"
    assert "Configured: demo, zweite" in mistakes(file, name="dritte")["accounts.dritte"]


HEDWIG = """
[accounts.hedwig-demo]
cloud = "hedwig"
[accounts.hedwig-demo.api]
url = "https://localhost:8443"
"""


@pytest.mark.parametrize("stray", ["", "[accounts.hedwig-demo.gateway]\nurl = 'pulsar+ssl://localhost:1'\n"])
@pytest.mark.parametrize("given", [{}, {"gateway.subscription": "other"}, ONLY_OPTIONS])
def test_an_account_of_a_cloud_without_a_gateway_is_one_sentence(
    file: Path, given: dict[str, object], stray: str
) -> None:
    file.write_text(TABLES + HEDWIG + stray)

    told = mistakes(file, given, name="hedwig-demo")

    assert told == {
        "accounts.hedwig-demo": "is an account of hedwig, which has no message gateway."
        " Choose an account with one: demo"
    }
    # Nor is it one of several to choose from.
    assert loaded(file).account.name == "demo"

    file.write_text(HEDWIG + stray)
    assert mistakes(file, given, name="hedwig-demo")["accounts.hedwig-demo"].endswith(
        "No account here has one"
    )
    assert "names no account with a gateway" in mistakes(file)["accounts"]


def test_without_any_account_both_ways_to_name_one_are_told(tmp_path: Path) -> None:
    told = mistakes(tmp_path / "missing.toml")["accounts"]

    assert "-c" in told
    assert "--access-key-file" in told


def test_a_named_file_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_gateway(tmp_path / "missing.toml", None, {}, optional_file=False, environment={})


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"gateway.url": "pulsar://plain.example.com:6650"}, "gateway.url"),
        ({"gateway.topics": ["events"]}, "gateway.topics"),
        ({"access_key": FromEnvironment("KEY", " ")}, "access_key"),
        ({"access_id": ""}, "access_id"),
    ],
)
def test_options_pass_the_checks_of_the_file(tmp_path: Path, given: dict[str, object], path: str) -> None:
    assert list(mistakes(tmp_path / "missing.toml", ONLY_OPTIONS | given)) == [f"accounts.listen.{path}"]
