"""The platform's own notices: a warning with a remedy and a line in the statistics, whatever they hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumer.notices import read_notice, take_notice
from consumer.statistics import BacklogAlert, Counters
from consumer.translation import Translator
from tests.gateway_messages import (
    PUSHED_AT_MS,
    Received,
    account,
    backlog_notice,
    sealed,
    translated,
)

TOPIC = "persistent://accessIdtesttesttest/out/notice"


def taken_in(body: dict[str, Any], em: str = "aes_gcm") -> tuple[Counters, list[Any]]:
    counters = Counters()
    translator = Translator(account(), counters)
    payload = sealed(body, em=em, protocol=10000)
    with capture_logs() as logs:
        records = translated(translator, Received(payload, em=em, topic=TOPIC))
    assert records == ()
    return counters, logs


@pytest.mark.parametrize("em", ["aes_gcm", "aes_ecb"])
def test_a_backlog_is_warned_of_with_what_where_and_the_remedy(em: str) -> None:
    counters, (warning,) = taken_in(backlog_notice(), em)

    assert counters.notices == {"pulsar_backlog_notice": 1}
    assert counters.backlog_alert == BacklogAlert(
        sent_at_ms=PUSHED_AT_MS,
        data_center="AY",
        topic="accessIdtesttesttest/out/event",
        subscription="accessIdtest-sub",
        own_subscription=True,
        backlog_messages=2345,
    )
    assert (warning["event"], warning["log_level"]) == ("gateway_backlog", "warning")
    assert (warning["account"], warning["backlog_messages"]) == ("tuya-test", 2345)
    assert "oldest_unacknowledged_age_s" in warning["remedy"]


def test_the_backlog_of_another_program_is_told_as_such() -> None:
    counters, (warning,) = taken_in(backlog_notice(subscription="accessIdtest-sub-viewer"))

    assert counters.backlog_alert is not None
    assert counters.backlog_alert.own_subscription is False
    assert "not the bridge's subscription" in warning["remedy"]


def test_notices_of_other_kinds_are_told_and_counted_by_their_type() -> None:
    counters, (warning,) = taken_in(
        {"bizCode": "HighPriorityNotice", "bizData": {"eventType": "moon_phase", "eventData": "{}"}}
    )

    assert counters.notices == {"moon_phase": 1}
    assert counters.backlog_alert is None
    assert (warning["event"], warning["event_type"]) == ("gateway_notice", "moon_phase")


@pytest.mark.parametrize(
    ("event_data", "backlog"),
    [
        ({"backLogNum": "2345"}, 2345),
        ({"backLogNum": -1}, None),
        ({"backLogNum": True}, None),
        ({"backLogNum": "many"}, None),
        ({"backLogNum": None, "topic": 7, "subscription": ["x"], "dataCenter": {}}, None),
    ],
)
def test_a_backlog_is_told_also_where_a_member_cannot_be_read(
    event_data: dict[str, Any], backlog: int | None
) -> None:
    counters, (warning,) = taken_in(backlog_notice(**event_data))

    assert warning["event"] == "gateway_backlog"
    assert counters.backlog_alert is not None
    assert counters.backlog_alert.backlog_messages == backlog


def test_a_notice_cannot_fill_the_log_or_command_a_terminal() -> None:
    _, (warning,) = taken_in(backlog_notice(topic="\x1b[2J" + "x" * 10_000))

    assert warning["topic"].startswith("�[2J")
    assert len(warning["topic"]) == 256


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {"eventType": st.sampled_from(["pulsar_backlog_notice", "other"]) | _json, "eventData": _json}
    )
    | _json
)
def test_whatever_a_notice_holds_is_one_count(biz_data: object) -> None:
    counters = Counters()
    with capture_logs():
        take_notice(read_notice(biz_data), account(), PUSHED_AT_MS, counters)

    assert sum(counters.notices.values()) == 1
