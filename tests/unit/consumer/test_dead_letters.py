"""Dead letters stay small, whatever a stranger sends."""

from __future__ import annotations

import msgspec
import pytest

from consumer.dead_letters import LEAST_LETTER_BYTES, dead_letter
from consumer.sink import OutgoingRecord
from schemas import DeadLetter, Position


def _letter(properties: dict[str, str], *, account: str = "a", partition: str = "event/3") -> OutgoingRecord:
    return dead_letter(
        reason="too_large",
        detail="Kafka refuses the record as too large (message.max.bytes)",
        account=account,
        position=Position(
            partition=partition, ledger=2**63, entry=2**63, batch_index=-1, publish_time_at_ms=1
        ),
        received_at_ms=1,
        payload=b"x" * 100_000,
        properties=properties,
        payload_limit_bytes=0,
    )


@pytest.mark.parametrize("character", ["a", "\0", "é", "\U0001f600"])
def test_a_letter_without_payload_is_as_small_as_the_remedy_says_whatever_its_properties(
    character: str,
) -> None:
    properties = {f"{number}" + character * 5000: character * 70_000 for number in range(100)}

    record = _letter(properties, account="a" * 40, partition="t" * 249 + "/10")

    assert len(record.value) + len(record.key or b"") < LEAST_LETTER_BYTES
    assert msgspec.json.decode(record.value, type=DeadLetter).payload_bytes == 100_000


def test_the_encryption_is_kept_before_all_other_properties() -> None:
    record = _letter({f"a{number}": "x" * 500 for number in range(100)} | {"em": "aes_gcm"})

    assert msgspec.json.decode(record.value, type=DeadLetter).properties["em"] == "aes_gcm"


def test_the_gateways_own_properties_are_kept_whole() -> None:
    sent = {"em": "aes_gcm", "tid": "b7" * 16}

    assert msgspec.json.decode(_letter(sent).value, type=DeadLetter).properties == sent
