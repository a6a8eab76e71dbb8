"""What the configuration promises: every mistake at once, each by its path, and never a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from bridge.config import ConfigurationError, load, load_kafka
from bridge.config.checks import LONGEST_S
from bridge.config.environment import variable_of
from bridge.config.reference import ALIAS, SECTIONS, Setting, example, settings_of
from bridge.fold.encoding import encode_device
from consumer.secret import Secret
from tests.unit.config.written import Written
from tests.unit.fold.story import Story

SETTINGS = [
    (section.replace(ALIAS, "tuya-demo"), setting)
    for section, kind in SECTIONS
    for setting in settings_of(section, kind)
]


def own_path(setting: Setting) -> str:
    return setting.path.replace(ALIAS, "tuya-demo")


def test_complete_file_gives_the_settings_of_every_stage(written: Written) -> None:
    written.set("accounts.tuya-demo.previous_access_key_file", "key.txt")
    written.set("events.exclude", ["ota.upgrade.progressed"])
    written.set("policy.jitter_s", 0)

    configuration = written.load()

    gateway, api = configuration.gateways[0], configuration.apis[0]
    assert (gateway.name, gateway.cloud, gateway.access_id) == ("tuya-demo", "tuya-cloud", "access-id")
    assert (
        gateway.access_key
        == gateway.previous_access_key
        == api.credentials.access_key
        == Secret("a-very-secret-access-key")
    )
    assert gateway.gateway.url == "pulsar+ssl://localhost:7285"
    assert api.api.url == "https://localhost:8443"
    assert configuration.kafka.bootstrap_servers == "localhost:9092"
    assert configuration.policy.jitter_s == 0
    assert configuration.policy.leaves_out("ota.upgrade.progressed")
    assert configuration.warnings == ()


def test_raw_evidence_is_one_key_for_what_is_pushed_and_what_is_asked(written: Written) -> None:
    plain = written.load()
    written.set("evidence.raw", "none")
    none = written.load()

    assert (plain.gateways[0].evidence_raw, plain.apis[0].evidence_raw) == ("redacted", "redacted")
    assert (none.gateways[0].evidence_raw, none.apis[0].evidence_raw) == ("none", "none")


@pytest.mark.parametrize(
    "setting", [setting for _, setting in SETTINGS if setting.default is None], ids=own_path
)
def test_missing_key_is_named_with_its_variable(written: Written, setting: Setting) -> None:
    path = own_path(setting)
    written.remove(path)

    problems = written.problems()

    assert list(problems) == [path]
    assert problems[path].startswith("is missing")
    assert variable_of(path.removesuffix("_file")) in problems[path]


@pytest.mark.parametrize("setting", [setting for _, setting in SETTINGS], ids=own_path)
def test_value_of_another_type_is_named(written: Written, setting: Setting) -> None:
    path = own_path(setting)
    written.set(path, [{}])

    assert list(written.problems()) == [path]


@pytest.mark.parametrize(
    "setting",
    [setting for _, setting in SETTINGS if setting.type in ("integer", "number")],
    ids=own_path,
)
def test_negative_number_is_named(written: Written, setting: Setting) -> None:
    path = own_path(setting)
    written.set(path, -1)

    assert list(written.problems()) == [path]


@pytest.mark.parametrize("section", sorted({section for section, _ in SETTINGS}))
def test_unknown_key_is_named_with_the_nearest_known_one(written: Written, section: str) -> None:
    known = own_path(next(setting for where, setting in SETTINGS if where == section))
    written.set(f"{known}x", 1)

    problems = written.problems()

    assert list(problems) == [f"{known}x"]
    assert f"Perhaps {known.rpartition('.')[2]} was meant" in problems[f"{known}x"]


def test_all_mistakes_are_told_at_once(written: Written) -> None:
    written.set("kafka.partitions", "twelve")
    written.set("kafka.security", "sasl_ssl")
    written.set("accounts.tuya-demo.gateway.url", "pulsar://localhost:6650")
    written.set("accounts.tuya-demo.gateway.sign_policy", "sometimes")
    written.remove("accounts.tuya-demo.api.url")
    written.set("kafak.prefix", "ota")

    assert set(written.problems({"OTA_BRIDGE__HTTP__PORT": "many"})) == {
        "kafka.partitions",
        "kafka.username",
        "kafka.password_file",
        "accounts.tuya-demo.gateway.url",
        "accounts.tuya-demo.gateway.sign_policy",
        "accounts.tuya-demo.api.url",
        "kafak",
        "http.port",
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("kafka.bootstrap_servers", "localhost"),
        ("kafka.bootstrap_servers", ""),
        ("kafka.bootstrap_servers", "localhost:99999"),
        ("kafka.prefix", "ota bridge"),
        ("kafka.username", "bridge"),
        ("kafka.ca_file", "key.txt"),
        ("kafka.session_timeout_s", 5.9),
        ("kafka.session_timeout_s", 1801),
        ("kafka.transaction_timeout_s", 901),
        ("http.port", 70000),
        ("log.level", "loud"),
        ("events.include", ["ota.upgrade.finished"]),
        ("events.progress_step", 101),
        ("policy.claim_lookups_s", [7.0, 3.5]),
        ("policy.claim_lookups_s", [3.5, 1e17]),
        ("policy.progress_fall_points", 101),
        ("policy.progress_fall_points", 0),
        ("accounts.tuya-demo.cloud", "no-such-cloud"),
        ("accounts.tuya-demo.access_id", ""),
        ("accounts.tuya-demo.access_key_file", "missing.txt"),
        ("accounts.tuya-demo.gateway.url", "localhost:7285"),
        ("accounts.tuya-demo.gateway.url", "pulsar://localhost:6650"),
        ("accounts.tuya-demo.gateway.url", "pulsar+ssl://user:password@localhost:7285"),
        ("accounts.tuya-demo.gateway.topics", []),
        ("accounts.tuya-demo.gateway.topics", ["event topic"]),
        ("accounts.tuya-demo.gateway.topics", ["evnt"]),
        ("accounts.tuya-demo.gateway.topics", ["event", "event"]),
        ("accounts.tuya-demo.gateway.topics", ["event", "persistent://tenant/out/event"]),
        ("accounts.tuya-demo.gateway.subscription", " "),
        ("accounts.tuya-demo.gateway.retention_margin_s", 7200),
        ("accounts.tuya-demo.gateway.receive_ahead_messages", 99),
        ("accounts.tuya-demo.gateway.receive_ahead_messages", 0),
        ("accounts.tuya-demo.api.url", "http://localhost:8080"),
        ("accounts.tuya-demo.api.rate_per_s", 0),
    ],
)
def test_value_that_cannot_work_is_named(written: Written, path: str, value: object) -> None:
    written.set(path, value)

    assert list(written.problems()) == [path]


TIMES = [setting for _, setting in SETTINGS if setting.key.endswith("_s") and setting.type == "number"]


@pytest.mark.parametrize(
    "setting", [setting for setting in TIMES if setting.key != "rate_per_s"], ids=own_path
)
def test_time_of_more_than_ten_years_is_named(written: Written, setting: Setting) -> None:
    path = own_path(setting)
    written.set(path, 1e17)

    assert "is too large" in written.problems()[path]


def test_longest_policy_makes_states_that_can_be_written(written: Written) -> None:
    for setting in TIMES:
        if setting.path.startswith("policy."):
            written.set(setting.path, LONGEST_S)
    policy = written.load().policy
    story = Story(policy, "d1")

    story.push(100, "downloading")

    assert story.device is not None
    assert encode_device(story.device, None)


def test_unknown_table_is_named_with_the_nearest_known_one(written: Written) -> None:
    written.set("kafak.prefix", "ota")
    written.set("zoo.size", 1)

    problems = written.problems()

    assert problems["kafak"] == "is not a known table. Perhaps kafka was meant"
    assert "Known here: accounts, events, evidence, http, kafka, log, policy" in problems["zoo"]


def test_discovery_from_a_file_needs_the_file(written: Written) -> None:
    written.set("accounts.tuya-demo.api.discovery", "file")

    assert list(written.problems()) == ["accounts.tuya-demo.api.discovery_file"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("http.port", "8080", "is not a whole number. Write it without quotes"),
        ("http.port", 80.5, "is not a whole number"),
        ("http.status", "yes", "is not true or false"),
        ("kafka.prefix", 7, "is not text. Write it in quotes"),
        ("accounts.tuya-demo.api.rate_per_s", "4", "is not a number. Write it without quotes"),
        ("accounts.tuya-demo.gateway.topics", "event", "is not a list. Write it in brackets"),
        (
            "accounts.tuya-demo.gateway.topics",
            ["event", 5],
            "holds something that is not text: 5. Write it in",
        ),
        ("accounts.tuya-demo.gateway.topics", ["event", "evnt"], "channels of the account: evnt. Use event"),
        (
            "accounts.tuya-demo.gateway.topics",
            ["a-secret-of-many-characters:"],
            ": a-se… (28 characters). Use",
        ),
        ("accounts.tuya-demo.gateway.topics", [], "names no channel"),
        (
            "accounts.tuya-demo.gateway.filter_protocols",
            [4, "5", 6.5],
            "holds something that is not a whole number: 5, 6.5. Write it without quotes",
        ),
        ("accounts.tuya-demo.api.discovery", "maybe", "has a wrong value. Use one of 'api'"),
    ],
)
def test_value_of_another_type_is_told_in_words(
    written: Written, path: str, value: object, told: str
) -> None:
    written.set(path, value)

    assert told in written.problems()[path]


@pytest.mark.parametrize("key", ["access_key", "previous_access_key"])
def test_secret_in_plain_text_is_refused_and_not_repeated(written: Written, key: str) -> None:
    written.set(f"accounts.tuya-demo.{key}", "hunter2-hunter2")

    problems = written.problems()

    path = f"accounts.tuya-demo.{key}"
    assert list(problems) == [path]
    assert f"{key}_file" in problems[path]
    assert variable_of(path) in problems[path]
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize("key", ["access_key", "previous_access_key"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("abcde", "has 5 characters"),
        ("a", "has 1 character,"),
        ("a" * 23, "has 23 characters, and an access key at least 24"),
        ("Access Secret: 0123456789abcdef", "holds characters"),
        ("0123456789abcdef0123456789abcdé", "holds characters"),
    ],
)
def test_access_key_that_cannot_be_one_is_refused_and_not_repeated(
    written: Written, key: str, text: str, told: str
) -> None:
    path = f"accounts.tuya-demo.{key}"
    (written.folder / "other.txt").write_text(text, encoding="utf-8")
    written.set(f"{path}_file", "other.txt")

    from_file = written.problems()
    written.remove(f"{path}_file")
    variable = variable_of(path)
    from_environment = written.problems({variable: text})

    assert (list(from_file), list(from_environment)) == ([f"{path}_file"], [path])
    assert f"{written.folder / 'other.txt'}, which {told}" in from_file[f"{path}_file"]
    assert f"{variable}, which {told}" in from_environment[path]
    assert "Copy the whole Access Secret" in from_file[f"{path}_file"]
    assert not any(word in f"{from_file}{from_environment}" for word in ("bcd", "0123", "aaa"))


def test_shortest_access_key_is_taken(written: Written) -> None:
    (written.folder / "key.txt").write_text("a" * 24)

    assert written.load().gateways[0].access_key == Secret("a" * 24)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("pulsar+ssl://gateway.example.com", "names no port"),
        ("pulsar+ssl://gateway.example.com/", "names no port"),
        ("pulsar+ssl://gateway.example.com:7285/event", "has a path or a query"),
        ("pulsar+ssl://gateway.example.com:7285?topic=event", "has a path or a query"),
        ("pulsar+ssl://gateway.example.com:7285/#event", "has a path or a query"),
        (
            "wss://gateway.example.com:8285/",
            "begins with wss://. Write pulsar+ssl://host:7285: the WebSocket",
        ),
        (
            "https://openapi.example.com",
            "begins with https://. Write pulsar+ssl://host:7285: this one is the API",
        ),
        ("http+something-that-may-be-a-secret://a:1", "begins with http… (35 characters)://"),
        ("gateway.example.com:7285", "is not a complete address"),
        ("//gateway.example.com:7285", "is not a complete address"),
        ("pulsar+ssl://:7285", "is not a complete address"),
        ("pulsar+ssl://gateway.example.com:0", "is not a complete address"),
        ("pulsar+ssl://gateway.example.com:72850", "is not a complete address"),
        ("pulsar+ssl://a:7285,b:7285", "is not a complete address"),
        ("pulsar+ssl://access-id@gateway.example.com:7285", "carries credentials"),
        ("pulsar+ssl://:key@gateway.example.com:7285", "carries credentials"),
        ("pulsar://gateway.example.com:7285", "is not encrypted"),
        ("", "is not a complete address"),
    ],
)
def test_gateway_address_that_cannot_be_one_is_one_mistake(written: Written, url: str, told: str) -> None:
    written.set("accounts.tuya-demo.gateway.url", url)

    problems = written.problems()

    assert list(problems) == ["accounts.tuya-demo.gateway.url"]
    assert problems["accounts.tuya-demo.gateway.url"].startswith(told)
    assert "pulsar+ssl://" in problems["accounts.tuya-demo.gateway.url"].partition(". ")[2]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://openapi.example.com/v1.0", "has a path or a query"),
        ("https://openapi.example.com?token=hunter2", "has a path or a query"),
        ("pulsar+ssl://gateway.example.com:7285", "begins with pulsar+ssl://. Write https://host, or"),
        ("openapi.example.com", "is not a complete address"),
        ("https:openapi.example.com", "is not a complete address"),
        ("https://id:hunter2@openapi.example.com", "carries credentials"),
        ("http://openapi.example.com", "is not encrypted"),
    ],
)
def test_api_address_that_cannot_be_one_is_one_mistake(written: Written, url: str, told: str) -> None:
    written.set("accounts.tuya-demo.api.url", url)

    problems = written.problems()

    assert list(problems) == ["accounts.tuya-demo.api.url"]
    assert problems["accounts.tuya-demo.api.url"].startswith(told)
    assert "https://" in problems["accounts.tuya-demo.api.url"].partition(". ")[2]
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    ("gateway", "api"),
    [
        ("pulsar+ssl://gateway.example.com:7285", "https://openapi.example.com"),
        # As the platform's own pages write them.
        ("pulsar+ssl://gateway.example.com:7285/", "https://openapi.example.com/"),
        ("pulsar+ssl://[::1]:7285", "https://[::1]:8443"),
        ("PULSAR+SSL://gateway.example.com:7285", "HTTPS://openapi.example.com:443"),
    ],
)
def test_address_that_can_be_one_is_taken(written: Written, gateway: str, api: str) -> None:
    written.set("accounts.tuya-demo.gateway.url", gateway)
    written.set("accounts.tuya-demo.api.url", api)

    configuration = written.load()

    assert (configuration.gateways[0].gateway.url, configuration.apis[0].api.url) == (gateway, api)


def test_empty_secret_file_is_named(written: Written) -> None:
    (written.folder / "key.txt").write_text("\n")

    assert list(written.problems()) == ["accounts.tuya-demo.access_key_file"]


@pytest.mark.parametrize("line_break", ["", "\n", "\r\n"])
def test_one_line_break_behind_a_secret_is_not_part_of_it(written: Written, line_break: str) -> None:
    (written.folder / "key.txt").write_bytes(f"a-very-secret-access-key{line_break}".encode())

    assert written.load().apis[0].credentials.access_key == Secret("a-very-secret-access-key")


@pytest.mark.parametrize(
    "text", ["hunter2-1\nhunter2-2\n", "hunter2-1\r\nhunter2-2", "hunter2-1\n\nhunter2-2"]
)
def test_secret_of_two_lines_is_refused_and_not_repeated(written: Written, text: str) -> None:
    path = "accounts.tuya-demo.access_key_file"
    (written.folder / "key.txt").write_bytes(text.encode())

    problems = written.problems()
    from_environment = written.problems({"OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY": text})

    assert str(written.folder / "key.txt") in problems[path]
    assert "more than one line" in problems[path]
    assert "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY" in from_environment[path.removesuffix("_file")]
    assert "hunter2" not in f"{problems}{from_environment}"


def test_secret_file_that_is_not_text_is_named_with_its_path(written: Written) -> None:
    (written.folder / "key.txt").write_bytes(b"\xff\xfe")

    problems = written.problems()

    assert list(problems) == ["accounts.tuya-demo.access_key_file"]
    assert str(written.folder / "key.txt") in problems["accounts.tuya-demo.access_key_file"]


@pytest.mark.parametrize("call", ["read_text", "is_file"])
def test_file_that_may_not_be_read_is_named_with_its_path(
    written: Written, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, call, denied)
        problems = written.problems()

    assert list(problems) == ["accounts.tuya-demo.access_key_file"]
    assert f"{written.folder / 'key.txt'}, which cannot be read: Permission denied" in str(problems)


@pytest.mark.parametrize("table", ["kafka", "accounts.tuya-demo.gateway", "accounts.tuya-demo.api"])
@pytest.mark.parametrize(
    "content", [b"", b"not a certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_authorities_that_are_no_certificates_are_found_before_anything_connects(
    written: Written, table: str, content: bytes
) -> None:
    written.set("kafka.security", "ssl")
    (written.folder / "ca.pem").write_bytes(content)
    written.set(f"{table}.ca_file", "ca.pem")

    problems = written.problems()

    assert list(problems) == [f"{table}.ca_file"]
    assert f"{written.folder / 'ca.pem'}, which is not a PEM file" in problems[f"{table}.ca_file"]


def test_environment_goes_over_the_file(written: Written) -> None:
    configuration = written.load(
        {
            "OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9092",
            "OTA_BRIDGE__KAFKA__PARTITIONS": "6",
            "OTA_BRIDGE__HTTP__STATUS": "false",
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY": "one-more-secret-access-key",
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__GATEWAY__TOPICS": "event,event-test",
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__GATEWAY__FILTER_PROTOCOLS": "[4]",
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__API__RATE_PER_S": "2",
            "OTA_BRIDGE__POLICY__CLAIM_LOOKUPS_S": "1,2.5",
            "PATH": "/bin",
        }
    )

    assert configuration.kafka.bootstrap_servers == "kafka-1:9092,kafka-2:9092"
    assert configuration.kafka.partitions == 6
    assert not configuration.http.status
    assert configuration.gateways[0].access_key == Secret("one-more-secret-access-key")
    assert configuration.gateways[0].gateway.topics == ("event", "event-test")
    assert configuration.gateways[0].gateway.filter_protocols == (4,)
    assert configuration.apis[0].api.rate_per_s == 2.0
    assert configuration.policy.claim_lookups_s == (1.0, 2.5)


def test_mistake_in_the_environment_names_path_and_variable(written: Written) -> None:
    problems = written.problems(
        {
            "OTA_BRIDGE__KAFKA__PARTITIONS": "a-dozen",
            "OTA_BRIDGE__KAFKA__PREFIXX": "ota",
            "OTA_BRIDGE__NEW__KEY": "1",
        }
    )

    assert set(problems) == {"kafka.partitions", "kafka.prefixx", "new"}
    assert "OTA_BRIDGE__KAFKA__PARTITIONS" in problems["kafka.partitions"]
    assert "OTA_BRIDGE__KAFKA__PREFIXX" in problems["kafka.prefixx"]


@pytest.mark.parametrize(
    ("variable", "text", "told"),
    [
        ("KAFKA__PARTITIONS", "a-dozen", "is not a whole number (from {}). Write digits alone, such as 60"),
        ("POLICY__JITTER_S", "1 s", "is not a number (from {}). Write a number alone, such as 2.5"),
        ("HTTP__STATUS", "yes please", "is not true or false (from {}). Write true or false"),
        (
            "ACCOUNTS__TUYA_DEMO__GATEWAY__FILTER_PROTOCOLS",
            "4,five",
            "holds something that is not a whole number: five (from {}). Write digits alone, such as 60",
        ),
    ],
)
def test_mistake_in_the_environment_is_told_as_one_writes_there(
    written: Written, variable: str, text: str, told: str
) -> None:
    variable = f"OTA_BRIDGE__{variable}"

    assert list(written.problems({variable: text}).values()) == [told.format(variable)]


def test_single_value_in_the_environment_is_a_list_of_one(written: Written) -> None:
    gateway = "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__GATEWAY"
    configuration = written.load({f"{gateway}__FILTER_PROTOCOLS": "4", f"{gateway}__TOPICS": '"event-test"'})

    assert configuration.gateways[0].gateway.filter_protocols == (4,)
    assert configuration.gateways[0].gateway.topics == ("event-test",)


def test_secret_may_come_from_a_file_that_the_environment_names(written: Written) -> None:
    (written.folder / "other.txt").write_text("another-secret-access-key")

    configuration = written.load({"OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY_FILE": "other.txt"})

    assert configuration.apis[0].credentials.access_key == Secret("another-secret-access-key")


def test_secret_twice_in_the_environment_is_a_mistake(written: Written) -> None:
    problems = written.problems(
        {
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY": "hunter2-hunter2",
            "OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY_FILE": "key.txt",
        }
    )

    assert list(problems) == ["accounts.tuya-demo.access_key"]
    assert "hunter2" not in str(problems)


def test_paths_begin_at_the_files_folder(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    trustme.CA().cert_pem.write_to_path(written.folder / "ca.pem")
    written.set("accounts.tuya-demo.gateway.ca_file", "ca.pem")

    assert written.load().gateways[0].gateway.ca_file == str(written.folder / "ca.pem")


@pytest.mark.parametrize("alias", ["observations", "Demo", "tuya_demo", "a" * 41])
def test_alias_is_checked(written: Written, alias: str) -> None:
    written.tables["accounts"][alias] = written.tables["accounts"].pop("tuya-demo")

    assert list(written.problems()) == [f"accounts.{alias}"]


def test_account_without_gateway_and_api_is_a_mistake(written: Written) -> None:
    written.remove("accounts.tuya-demo.gateway")
    written.remove("accounts.tuya-demo.api")

    assert list(written.problems()) == ["accounts.tuya-demo"]


def test_no_account_is_a_mistake(written: Written) -> None:
    written.remove("accounts")

    assert list(written.problems()) == ["accounts"]


def test_account_without_api_is_told_to_the_fold(written: Written) -> None:
    written.remove("accounts.tuya-demo.api")

    assert written.load().policy.accounts_without_api == ("tuya-demo",)


def test_two_accounts_cannot_share_a_subscription(written: Written) -> None:
    written.tables["accounts"]["second"] = written.tables["accounts"]["tuya-demo"]

    problems = written.problems()

    assert list(problems) == ["accounts.second.gateway.subscription"]
    assert "accounts.tuya-demo" in problems["accounts.second.gateway.subscription"]


def test_switched_off_protection_is_allowed_by_name_and_remembered(written: Written) -> None:
    written.set("accounts.tuya-demo.gateway.tls_verify", value=False)
    written.set("accounts.tuya-demo.gateway.url", "pulsar://localhost:6650")
    written.set("accounts.tuya-demo.gateway.sign_policy", "warn")
    written.set("accounts.tuya-demo.api.tls_verify", value=False)
    written.set("http.host", "0.0.0.0")

    assert [warning.partition(" ")[0] for warning in written.load().warnings] == [
        "accounts.tuya-demo.gateway.tls_verify",
        "accounts.tuya-demo.gateway.sign_policy",
        "accounts.tuya-demo.api.tls_verify",
        "http.host",
    ]


def test_configuration_never_shows_a_secret(written: Written) -> None:
    written.set("kafka.security", "sasl_plaintext")
    written.set("kafka.username", "bridge")

    configuration = written.load({"OTA_BRIDGE__KAFKA__PASSWORD": "hunter2-hunter2"})

    assert configuration.secrets() == {Secret("hunter2-hunter2"), Secret("a-very-secret-access-key")}
    assert "hunter2" not in repr(configuration)
    assert "a-very-secret" not in repr(configuration)


@pytest.mark.parametrize("content", [None, b"kafka = ", b"\xff\xfe"])
def test_unreadable_file_is_one_mistake(written: Written, content: bytes | None) -> None:
    if content is not None:
        written.file.write_bytes(content)

    with pytest.raises(ConfigurationError) as caught:
        load(written.file, {})

    assert [problem.path for problem in caught.value.problems] == [str(written.file)]


def test_kafka_alone_is_read_without_looking_at_the_rest(written: Written) -> None:
    written.set("accounts.tuya-demo.cloud", "none")
    with pytest.raises(ConfigurationError):
        written.load()

    assert load_kafka(written.file, {}).bootstrap_servers == "localhost:9092"


def test_kafka_alone_may_come_from_the_environment(written: Written) -> None:
    environment = {"OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"}

    assert load_kafka(written.file, environment, optional_file=True).prefix == "ota"


@pytest.mark.parametrize("optional", [True, False])
def test_file_that_does_not_exist_is_what_is_told(written: Written, optional: bool) -> None:  # noqa: FBT001
    with pytest.raises(ConfigurationError) as caught:
        load_kafka(written.file, {}, optional_file=optional)

    first = caught.value.problems[0]
    assert (first.path, first.what) == (str(written.file), "does not exist")


def test_example_is_a_configuration(written: Written) -> None:
    written.file.write_text(example(), encoding="utf-8")
    (written.folder / "access-key.txt").write_text("a-very-secret-access-key")

    assert load(written.file, {}).account_names() == (ALIAS,)


def test_example_shows_every_default_as_it_is(written: Written) -> None:
    lines = []
    # Accounts of further clouds stand behind, in comments that are tables as well.
    for line in example().partition("\n# An account of ")[0].splitlines():
        key, _, value = line.removeprefix("# ").partition(" =")
        lines.append(f"{key} ={value}" if line.startswith("# ") and key.isidentifier() and value else line)
    (written.folder / "access-key.txt").write_text("a-very-secret-access-key")
    written.file.write_text(example(), encoding="utf-8")
    plain = load(written.file, {})

    written.file.write_text("\n".join(lines), encoding="utf-8")

    assert load(written.file, {}) == plain


def certificate(written: Written, name: str, ca: trustme.CA) -> None:
    issued = ca.issue_cert("bridge")
    issued.cert_chain_pems[0].write_to_path(written.folder / f"{name}.pem")
    issued.private_key_pem.write_to_path(written.folder / f"{name}.key")


def test_a_client_certificate_comes_with_its_own_key(written: Written) -> None:
    ca = trustme.CA()
    certificate(written, "client", ca)
    certificate(written, "other", ca)
    api = "accounts.tuya-demo.api"
    written.set(f"{api}.client_cert_file", "client.pem")
    assert list(written.problems()) == [f"{api}.client_key_file"]

    written.set(f"{api}.client_key_file", "other.key")
    problems = written.problems()
    assert list(problems) == [f"{api}.client_cert_file"]
    assert "its own key" in problems[f"{api}.client_cert_file"]

    written.set(f"{api}.client_key_file", "client.key")
    assert written.load().apis[0].api.client_key_file == str(written.folder / "client.key")


def test_a_hostname_that_is_not_verified_is_said_by_name(written: Written) -> None:
    written.set("accounts.tuya-demo.api.verify_hostname", value=False)

    (warning,) = written.load().warnings

    assert warning.startswith("accounts.tuya-demo.api.verify_hostname = false")


def test_a_cloud_that_nobody_knows_is_the_only_thing_told_of_its_account(written: Written) -> None:
    written.set("accounts.tuya-demo.cloud", "enoss")
    written.set("accounts.tuya-demo.key_id", "k")

    problems = written.problems()

    assert list(problems) == ["accounts.tuya-demo.cloud"]
    assert "tuya-cloud" in problems["accounts.tuya-demo.cloud"]
