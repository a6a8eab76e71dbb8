"""The configuration that the sandbox writes is one that the bridge takes, with its secrets beside it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import trustme

from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.config import Configuration, load
from consumer.secret import Secret
from consumer.settings import GatewaySettings
from deploy.sandbox.configuration import SHORT_PERIODS, ConfiguredAccount, write_configuration

ACCESS_KEY, PREVIOUS_KEY = "k" * 32, "p" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ca_file = tmp_path / "sandbox" / "ca.pem"
    ca_file.parent.mkdir()
    trustme.CA().cert_pem.write_to_path(ca_file)
    write_configuration(
        tmp_path / "ota-bridge.toml",
        tmp_path / "sandbox" / "secrets",
        bootstrap_servers="127.0.0.1:9092",
        accounts=[
            ConfiguredAccount(
                name="tuya-demo",
                cloud="tuya-cloud",
                credentials=TuyaCredentials(
                    access_id="id",
                    access_key=Secret(ACCESS_KEY),
                    previous_access_key=Secret(PREVIOUS_KEY),
                ),
                gateway=GatewaySettings(
                    url="pulsar+ssl://localhost:7285", subscription="id-sub", ca_file=str(ca_file)
                ),
                api=TuyaApi(
                    url="https://localhost:8443", ca_file=str(ca_file), rate_per_s=200, **SHORT_PERIODS
                ),
            )
        ],
    )
    return tmp_path


@pytest.fixture
def configuration(folder: Path) -> Configuration:
    return load(folder / "ota-bridge.toml", environment={})


def test_the_bridge_takes_it_without_a_warning(configuration: Configuration) -> None:
    assert configuration.warnings == ()
    (gateway,) = configuration.gateways
    (api,) = configuration.apis
    assert gateway.gateway.subscription == "id-sub"
    assert api.api.rate_per_s == 200
    assert api.credentials.access_key.reveal() == ACCESS_KEY
    assert gateway.previous_access_key is not None
    assert gateway.previous_access_key.reveal() == PREVIOUS_KEY


def test_it_changes_periods_and_nothing_else_that_users_rely_on(configuration: Configuration) -> None:
    kafka, policy = configuration.kafka, configuration.policy
    assert (kafka.prefix, kafka.partitions, kafka.session_timeout_s) == ("ota", 12, 6.0)
    assert (policy.open_period_s, policy.refresh_period_s, policy.lookup_backoff_max_s) == (5.0, 20.0, 10.0)
    assert (policy.success_deadline_s, policy.failure_deadline_s, policy.claim_deadline_s) == (
        10.0,
        5.0,
        30.0,
    )
    assert policy.claim_lookups_s[0] == policy.new_attempt_lookup_s == policy.hint_lookup_s == 3.5


def test_several_bridges_run_from_it(configuration: Configuration) -> None:
    assert configuration.http.port == 0


def test_secrets_are_files_of_their_owner_and_stand_nowhere_else(folder: Path) -> None:
    text = (folder / "ota-bridge.toml").read_text(encoding="utf-8")
    secrets = list((folder / "sandbox" / "secrets").iterdir())

    assert ACCESS_KEY not in text
    assert PREVIOUS_KEY not in text
    assert {file.read_text(encoding="utf-8").strip() for file in secrets} == {ACCESS_KEY, PREVIOUS_KEY}
    assert {stat.S_IMODE(file.stat().st_mode) for file in secrets} == {0o600}
