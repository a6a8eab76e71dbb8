"""The whole fuzz corpus through steps 2 to 6, without a broker: what each case becomes follows from the contract."""

from __future__ import annotations

from random import Random

import msgspec

from consumer.source import position_of
from consumer.statistics import Counters
from consumer.translation import TOGETHER, Translator
from tests.gateway_fuzz import corpus
from tests.gateway_messages import (
    ACCESS_KEY,
    PREVIOUS_KEY,
    RECEIVED_AT_MS,
    Received,
    account,
    backlog_notice,
    sealed,
    translated,
    upgrade_status,
)

GOOD = [
    *(sealed(upgrade_status(f"d{number}", str(number))) for number in range(20)),
    sealed(upgrade_status("p"), key=PREVIOUS_KEY),
    sealed({"bizCode": "statusReport", "bizData": {"devId": "d"}}),
    sealed({"bizCode": "deviceOtaProgress", "bizData": {"devId": "d", "progres": 3}}),
    sealed({"bizCode": "online", "devId": "d", "ts": 0}),
    sealed({"status": []}, protocol=4),
    sealed({"bizCode": "nameUpdate", "bizData": {"devId": "d", "name": "line\nfeed\r\u2028\x85"}}),
]
"""What the platform sends every day; the last has what other programs take for the end of a line."""
NOTICE = sealed(backlog_notice())


class Fuzzed(Received):
    """A message whose `em` may be no text, at which Pulsar's client raises."""

    def properties(self) -> dict[str, str]:
        return {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in super().properties().items()
        }


def test_every_case_becomes_what_the_contract_says() -> None:
    cases = corpus(ACCESS_KEY)
    assert (
        sum(
            all(len(outcome) == 1 and outcome != ("observation",) for outcome in case.outcomes)
            for case in cases
        )
        >= 10_000
    )
    counters = Counters()
    translator = Translator(account(), counters)
    wrong = []
    for case in cases:
        message = Fuzzed(case.payload, em=case.em)
        records = translated(translator, message)
        became = tuple(
            sorted(
                msgspec.json.decode(record.value)["reason"]
                if record.topic == "dead-letters"
                else "observation"
                for record in records
            )
        )
        if became not in case.outcomes:
            wrong.append(f"{case.what}: expected one of {case.outcomes}, became {became}")
    assert not wrong, "\n".join(wrong[:20])
    assert "internal_error" not in counters.dead_letters


def test_many_together_become_what_each_becomes_by_itself() -> None:
    """In runs of which some hold nothing unusual, some one such message, some many; counted once each."""
    rng = Random(1)
    good = [Fuzzed(payload) for payload in GOOD]
    bad = [Fuzzed(NOTICE)] + [
        Fuzzed(case.payload, em=case.em) for case in rng.sample(corpus(ACCESS_KEY), 300)
    ]
    messages = [
        rng.choice(good) if rng.random() < share else rng.choice(bad)
        for share in (1, 0.97, 0.5)
        for _ in range(700)
    ]
    passed = [(message, message.data(), position_of(message, "event/3")) for message in messages]
    counters = Counters(), Counters()
    alone = Translator(account(previous=True), counters[1])

    # Each part by itself, so that none is spared the attempt for the unusual in one before it.
    made = []
    for start in range(0, len(passed), TOGETHER):
        together = Translator(account(previous=True), counters[0])
        made += together.translate_all(passed[start : start + TOGETHER], RECEIVED_AT_MS)

    assert made == [alone.translate(*each, RECEIVED_AT_MS) for each in passed]
    assert vars(counters[0]) == vars(counters[1])


def test_parts_with_and_without_the_unusual_in_one_call_keep_their_order() -> None:
    good, bad = Fuzzed(GOOD[0]), Fuzzed(b"no envelope")
    position = position_of(good, "event/3")
    messages = ([good] * TOGETHER + [bad] + [good] * TOGETHER) * 12
    counters = Counters()
    made = Translator(account(), counters).translate_all(
        [(message, message.data(), position) for message in messages], RECEIVED_AT_MS
    )
    assert [record.topic for (record,) in made] == [
        "dead-letters" if message is bad else "observations" for message in messages
    ]
    assert counters.dead_letters == {"malformed_envelope": 12}
    assert sum(counters.observations.values()) == 24 * TOGETHER
