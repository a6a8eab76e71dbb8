"""Every registered cloud's tables: what the example shows is accepted, what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from bridge.clouds.kind import CloudKind
from bridge.clouds.registry import CLOUDS
from bridge.clouds.settings import AnyAccount, ApiSettings, Credentials
from bridge.clouds.shape import Cloud, Means
from bridge.config import checks, load, reference
from bridge.config.environment import variable_of
from bridge.config.reader import is_secret
from bridge.config.reference import example, placeholders
from consumer.secret import Secret
from tests.unit.config.written import Written

ALIAS = "some-cloud"
ROOT = f"accounts.{ALIAS}"


def describe(written: Written, cloud: str) -> None:
    """Replace the accounts by one of `cloud`, with nothing but the keys it must have."""
    written.tables["accounts"] = {}
    for path, value in placeholders(ALIAS, cloud).items():
        if path.endswith("_file"):
            (written.folder / str(value)).write_text("a-very-secret-access-key\n", encoding="utf-8")
        if ".gateway" not in path:
            written.set(path, value)


@pytest.fixture(autouse=True)
def any_certificate_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example names files of certificates, which hold none here."""
    monkeypatch.setattr(checks, "check_client_certificate", lambda *_: None)


def account(written: Written) -> AnyAccount:
    return written.load().apis[0]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_an_account_needs_no_key_but_those_of_the_example(written: Written, cloud: str) -> None:
    describe(written, cloud)

    found = account(written)

    assert (found.name, found.cloud) == (ALIAS, cloud)
    assert isinstance(found.credentials, CLOUDS[cloud].credentials)
    assert isinstance(found.api, CLOUDS[cloud].api)
    assert written.load().gateways == ()
    assert written.load().warnings == ()


def required() -> Iterator[tuple[str, str]]:
    for cloud in CLOUDS:
        for path in placeholders(ALIAS, cloud):
            if ".gateway" not in path:
                yield cloud, path.removeprefix(f"{ROOT}.")


@pytest.mark.parametrize(("cloud", "key"), list(required()))
def test_each_of_them_is_missed_by_its_path(written: Written, cloud: str, key: str) -> None:
    describe(written, cloud)
    written.remove(f"{ROOT}.{key}")
    is_cloud = key == "cloud"

    problems = written.problems()

    assert list(problems) == [f"{ROOT}.{key}"] or is_cloud
    assert "OTA_BRIDGE__ACCOUNTS__SOME_CLOUD__" in problems[f"{ROOT}.{key}"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_its_secrets_are_known_to_the_redaction_and_never_stand_in_the_file(
    written: Written, cloud: str
) -> None:
    describe(written, cloud)
    kind = CLOUDS[cloud]
    keys = [
        field.name
        for field in msgspec.structs.fields(kind.credentials)
        if is_secret(field.type) and field.required
    ]
    assert keys

    assert Secret("a-very-secret-access-key") in written.load().secrets()

    environment = {variable_of(f"{ROOT}.{key}"): f"{key}-as-the-environment-has-it" for key in keys}
    for key in keys:
        written.remove(f"{ROOT}.{key}_file")
    assert {secret.reveal() for secret in written.load(environment).secrets()} >= set(environment.values())
    for key in keys:
        written.set(f"{ROOT}.{key}", "in the open")
    assert {f"{ROOT}.{key}" for key in keys} <= set(written.problems())


@pytest.mark.parametrize("cloud", [cloud for cloud, kind in CLOUDS.items() if not kind.has_gateway])
def test_a_gateway_of_a_cloud_that_has_none_is_a_mistake(written: Written, cloud: str) -> None:
    describe(written, cloud)
    written.set(f"{ROOT}.gateway", {"url": "pulsar+ssl://localhost:1", "subscription": "s"})

    assert list(written.problems()) == [f"{ROOT}.gateway"]


class ToyCredentials(Credentials, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key_id: str
    """Its key."""
    secret: Secret
    """Its secret."""


class ToyApi(ApiSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rate_per_s: float = 1.5
    """Slower than most."""
    job_ids: tuple[str, ...] = ()
    """What is swept."""


def _toy(_account: Any, _means: Means) -> Cloud:
    raise AssertionError("nobody asks it")


def _check_toy(path: str, values: Any, report: Any) -> None:
    if not values.get("job_ids", ("mistaken",)):
        report(f"{path}.job_ids", "is empty", "Name the jobs")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cloud that this version does not have: added as the documentation says, by one entry."""
    kind = CloudKind(
        title="Toys",
        credentials=ToyCredentials,
        api=ToyApi,
        open=_toy,
        check_api=_check_toy,
        placeholders={"key_id": "k", "secret_file": "toy.txt", "api.url": "https://toys.example.com"},
    )
    monkeypatch.setitem(CLOUDS, "toys", kind)
    monkeypatch.setitem(reference.FURTHER, "toys", reference._account_sections("my-toys", kind))
    for path, value in placeholders("my-toys", "toys").items():
        monkeypatch.setitem(reference.PLACEHOLDERS, path, value)


@pytest.mark.usefixtures("toy")
def test_one_entry_in_the_registry_gives_a_cloud_its_tables_and_checks(written: Written) -> None:
    describe(written, "toys")
    assert list(written.problems()) == [f"{ROOT}.api.job_ids"]

    written.set(f"{ROOT}.api.job_ids", ["j1"])
    written.set(f"{ROOT}.access_id", "tuya's")
    assert list(written.problems()) == [f"{ROOT}.access_id"]

    written.remove(f"{ROOT}.access_id")
    written.set("accounts.tuya-demo", {"cloud": "tuya-cloud", "access_id": "i", "access_key_file": "key.txt"})
    written.set("accounts.tuya-demo.api", {"url": "https://localhost:1"})
    configuration = written.load()
    assert [(api.cloud, api.api.rate_per_s) for api in configuration.apis] == [
        ("toys", 1.5),
        ("tuya-cloud", 4.0),
    ]
    assert configuration.account_names() == ("some-cloud", "tuya-demo")


@pytest.mark.usefixtures("toy")
def test_the_example_shows_an_account_of_each_cloud(written: Written) -> None:
    text = example()
    assert "# [accounts.my-toys.api]\n" in text
    assert "# # job_ids = []" in text
    assert text.count("max_answer_bytes =") == 1, "what all clouds have in common is shown once"

    # Uncommented, it is an account that works.
    begin = text.index("# [accounts.my-toys]")
    lines = text[begin:].split("\n\n")[0].replace("# # job_ids = []", 'job_ids = ["j"]').splitlines()
    account_text = "\n".join(line.removeprefix("# ").removeprefix("#") for line in lines)
    (written.folder / "toy.txt").write_text("a-secret-of-many-characters\n", encoding="utf-8")
    (written.folder / "access-key.txt").write_text("a-secret-of-many-characters\n", encoding="utf-8")
    written.file.write_text(f"{text}\n{account_text}", encoding="utf-8")
    assert {account.cloud for account in load(written.file, {}).apis} == {"tuya-cloud", "toys"}
