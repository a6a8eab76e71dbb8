"""The backlogs are what they claim: the shares, the sizes, and whose they are."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from random import Random

import msgspec
import pytest

from tests.benchmarks.gateway.mix import DEVICES, FIREHOSE, MIXES, REPORT_BYTES, Mix, Push, kinds, pushes

ACCESS_KEY = "k" * 32
COUNT = 500
AT_MS = 1_760_000_000_000


@pytest.fixture(scope="module", params=MIXES, ids=lambda mix: mix.name)
def mix(request: pytest.FixtureRequest) -> Mix:
    return request.param


@pytest.fixture(scope="module")
def made(mix: Mix) -> Sequence[Push]:
    return list(pushes(mix, COUNT, ACCESS_KEY, at_ms=AT_MS))


def test_the_shares_of_a_mix_are_met_to_the_message() -> None:
    (firehose,) = (mix for mix in MIXES if mix.shares == FIREHOSE)

    counted = Counter(kinds(firehose, 50_000, Random(1)))

    assert counted == {"ota": 1000, "connection": 4000, "report": 45_000}


def test_no_kind_of_message_comes_in_a_block() -> None:
    (firehose,) = (mix for mix in MIXES if mix.shares == FIREHOSE)

    drawn = kinds(firehose, 50_000, Random(1))

    for first in range(0, 50_000, 5000):
        assert 0.85 < Counter(drawn[first : first + 5000])["report"] / 5000 < 0.95


def test_the_encrypted_part_of_a_report_has_the_size_it_should(mix: Mix, made: Sequence[Push]) -> None:
    reports = [msgspec.json.decode(push.sealed.payload) for push in made if push.kind == "report"]

    sizes = [len(base64.b64decode(envelope["data"])) for envelope in reports]

    assert len(sizes) == COUNT * mix.shares.get("report", 0.0)
    assert all(REPORT_BYTES[0] <= size <= REPORT_BYTES[1] for size in sizes)
    assert {envelope["protocol"] for envelope in reports} <= {4}


def test_a_backlog_is_spread_over_the_devices(made: Sequence[Push]) -> None:
    assert len({push.device_id for push in made}) > COUNT * 0.9
    assert DEVICES == 20_000
