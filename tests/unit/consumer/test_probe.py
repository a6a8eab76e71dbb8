"""The probe against a scripted broker: each answer is told apart, redirects are followed, nothing is consumed."""

from __future__ import annotations

import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from consumer import pulsar_frames
from consumer.probe import ProbeResult, probe
from consumer.pulsar_frames import Command, ServerError
from tests.gateway_messages import ACCESS_KEY, account
from tests.played_broker import PlayedBroker, error_frame, listening, lookup_frame, metadata_frame


@pytest.fixture
async def broker() -> AsyncIterator[PlayedBroker]:
    async with listening(PlayedBroker()) as broker:
        yield broker


async def _probed(broker: PlayedBroker, topic: str = "event") -> ProbeResult:
    result = await probe(account(url=broker.url, tls_verify=False, topics=(topic,)), timeout_s=2.0)
    assert ACCESS_KEY not in result.message
    return result


async def test_an_account_that_is_welcome_is_told_so(broker: PlayedBroker) -> None:
    result = await _probed(broker)

    assert (result.outcome, result.refused) == ("accepted", False)
    assert broker.pongs > 0
    (_, subscribe) = broker.asked[-1]
    assert subscribe[1] == b"persistent://accessIdtesttesttest/out/event-partition-0"
    assert subscribe[2] == b"accessIdtest-sub"


async def test_nothing_is_consumed_and_no_consumer_loses_its_turn(broker: PlayedBroker) -> None:
    await _probed(broker)

    flow, acknowledge = 11, 10
    assert not {flow, acknowledge} & set(broker.numbers())
    (_, subscribe) = broker.asked[-1]
    failover = 2
    priority_level = subscribe[7]
    assert subscribe[3] == failover
    assert isinstance(priority_level, int)
    assert priority_level > 1000


@pytest.mark.parametrize(
    ("step", "answer", "outcome", "refused"),
    [
        (Command.CONNECT, error_frame(ServerError.AUTHENTICATION), "wrong_key", True),
        (
            Command.PARTITIONED_METADATA,
            metadata_frame(error=ServerError.AUTHORIZATION),
            "forbidden_topic",
            True,
        ),
        (
            Command.PARTITIONED_METADATA,
            metadata_frame(error=ServerError.TOPIC_NOT_FOUND),
            "missing_topic",
            True,
        ),
        (Command.LOOKUP, lookup_frame(2, "", error=ServerError.AUTHORIZATION), "forbidden_topic", True),
        (Command.LOOKUP, lookup_frame(2, "", error=6), "unavailable", False),
        (Command.SUBSCRIBE, error_frame(ServerError.SUBSCRIPTION_NOT_FOUND), "missing_subscription", True),
        (Command.SUBSCRIBE, error_frame(ServerError.AUTHORIZATION), "forbidden_topic", True),
        (Command.SUBSCRIBE, error_frame(5), "unavailable", False),
        (Command.CONNECT, b"HTTP/1.1 400 Bad Request\r\n\r\n", "unreachable", False),
        (Command.CONNECT, b"\x00\x00\x00\x04\xff\xff\xff\xff", "unreachable", False),
        (Command.CONNECT, b"\x00\x00\x00\x00", "unreachable", False),
        (Command.CONNECT, b"", "unreachable", False),
    ],
)
async def test_each_refusal_is_told_apart(
    broker: PlayedBroker, step: Command, answer: bytes, outcome: str, refused: object
) -> None:
    broker.answers[step] = lambda: answer
    result = await probe(account(url=broker.url, tls_verify=False), timeout_s=0.3)
    assert (result.outcome, result.refused) == (outcome, refused)


async def test_an_access_id_that_may_be_the_key_is_not_repeated(broker: PlayedBroker) -> None:
    broker.answers[Command.CONNECT] = lambda: error_frame(ServerError.AUTHENTICATION)
    asked = account(url=broker.url, tls_verify=False)

    assert "refuses the access key of accessIdtesttesttest" in (await probe(asked)).message
    mixed_up = msgspec.structs.replace(asked, access_id=ACCESS_KEY)
    assert ACCESS_KEY not in (await probe(mixed_up)).message


async def test_a_topic_without_partitions_is_asked_for_by_its_own_name(broker: PlayedBroker) -> None:
    broker.answers[Command.PARTITIONED_METADATA] = lambda: metadata_frame(0)
    assert (await _probed(broker, "notice")).outcome == "accepted"
    assert broker.asked[-1][1][1] == b"persistent://accessIdtesttesttest/out/notice"


async def test_a_redirect_is_followed_to_the_broker_that_serves_the_topic(broker: PlayedBroker) -> None:
    async with listening(PlayedBroker()) as owner:
        broker.answers[Command.LOOKUP] = lambda: lookup_frame(0, owner.url)
        owner.answers[Command.SUBSCRIBE] = lambda: error_frame(ServerError.SUBSCRIPTION_NOT_FOUND)

        assert (await _probed(broker)).outcome == "missing_subscription"

        assert Command.SUBSCRIBE not in broker.numbers()


async def test_a_broker_behind_a_proxy_is_reached_through_it(broker: PlayedBroker) -> None:
    broker.answers[Command.LOOKUP] = lambda: lookup_frame(1, "pulsar://10.0.0.7:6650", proxy=True)

    assert (await _probed(broker)).outcome == "accepted"

    connects = [fields for number, fields in broker.asked if number == Command.CONNECT]
    assert [fields.get(6) for fields in connects] == [None, b"10.0.0.7:6650"]


@pytest.mark.parametrize(
    ("error", "keys"),
    [
        (ServerError.AUTHENTICATION, ("access_id", "access_key_file", "gateway.url")),
        (ServerError.SUBSCRIPTION_NOT_FOUND, ("gateway.subscription",)),
        (ServerError.AUTHORIZATION, ("gateway.topics",)),
        (ServerError.TOPIC_NOT_FOUND, ("gateway.topics",)),
    ],
)
async def test_a_refusal_names_the_keys_as_the_configuration_file_has_them(
    broker: PlayedBroker, error: ServerError, keys: tuple[str, ...]
) -> None:
    broker.answers[Command.CONNECT] = lambda: error_frame(error)

    remedy = (await _probed(broker)).remedy or ""

    assert set(re.findall(r"accounts\.tuya-test\.([a-z_.]*[a-z])", remedy)) == set(keys)


async def test_nobody_listening_is_unreachable() -> None:
    async with listening(PlayedBroker()) as broker:
        url = broker.url
    result = await probe(account(url=url, tls_verify=False))
    assert (result.outcome, result.refused) == ("unreachable", False)


async def test_certificates_are_verified_and_the_failures_told_apart(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    for name, ca in (("ours", authority), ("other", stranger)):
        ca.cert_pem.write_to_path(tmp_path / f"{name}.pem")
    for certificate, ca_file, told in (
        (authority.issue_cert("127.0.0.1"), "ours.pem", "accepts this account"),
        (authority.issue_cert("127.0.0.1"), "other.pem", "an authority not trusted here"),
        (authority.issue_cert("gateway.example"), "ours.pem", "for another"),
        (authority.issue_cert("127.0.0.1"), "missing.pem", "missing.pem cannot be read"),
    ):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(context)
        async with listening(PlayedBroker(), tls=context) as broker:
            result = await probe(account(url=broker.url, ca_file=str(tmp_path / ca_file)), timeout_s=2.0)
        assert told in result.message
        assert result.outcome == ("accepted" if told.startswith("accepts") else "tls_failure")
        assert not result.refused


async def test_an_expired_certificate_is_told(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    async with listening(PlayedBroker(), tls=context) as broker:
        result = await probe(account(url=broker.url, ca_file=str(tmp_path / "ca.pem")), timeout_s=2.0)
    assert result.outcome == "tls_failure"
    assert "has expired" in result.message


@given(st.lists(st.tuples(st.integers(1, 500), st.one_of(st.integers(0, 2**63), st.text(max_size=300)))))
def test_frames_are_read_as_they_were_written(fields: list[tuple[int, int | str]]) -> None:
    frame = pulsar_frames._frame(Command.LOOKUP, *fields)
    assert int.from_bytes(frame[:4]) == len(frame) - 4
    number, read = pulsar_frames.parse(frame[4:])
    assert number == Command.LOOKUP
    assert read == {key: value.encode() if isinstance(value, str) else value for key, value in fields}


@given(st.binary(max_size=100))
def test_foreign_bytes_raise_value_error_or_nothing(frame: bytes) -> None:
    try:
        pulsar_frames.parse(frame)
    except ValueError:
        return
