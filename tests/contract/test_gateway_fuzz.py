"""The whole fuzz corpus through steps 2 to 6, without a broker: what each case becomes follows from the contract."""

from __future__ import annotations

import msgspec

from consumer.statistics import Counters
from consumer.translation import Translator
from tests.gateway_fuzz import corpus
from tests.gateway_messages import ACCESS_KEY, Received, account, translated


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
