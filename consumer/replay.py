"""A dead letter once more, with today's code and keys: which devices to ask about, or why it stays what it is.

What the message says is old by now and is not believed: each device it names gets a hint, and the cloud is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from consumer.captured import NOWHERE, CapturedMessage, judge
from consumer.settings import GatewayAccount
from schemas import DeadLetter, Observation, ObservedEvidence
from schemas.unreadable import UNREADABLE

FOLDS_OWN: Final = "observations/"
"""How the source position of a dead letter begins whose payload is an observation that the fold refused."""

EVIDENCE_NAME: Final = "replay"

_observation = msgspec.json.Decoder(Observation).decode


class Replayed(Struct, frozen=True, kw_only=True):
    """Hints for the devices that a dead letter names. Without any, `left` says why in a few words, for counting, and
    `detail` in full.
    """

    hints: tuple[Observation, ...] = ()
    left: str | None = None
    detail: str | None = None


def is_cut(letter: DeadLetter) -> bool:
    """Whether only the beginning of the payload was kept."""
    return letter.payload_bytes > len(letter.payload)


def replay(letter: DeadLetter, accounts: Mapping[str, GatewayAccount], now_ms: int) -> Replayed:
    """Return what a dead letter is worth today. Raises Misconfigured for a key that cannot be one."""
    if is_cut(letter):
        kept = f"{len(letter.payload)} of its {letter.payload_bytes} bytes"
        return Replayed(left="cut", detail=f"cut: only {kept} were kept, so it can never be read again")
    if letter.source_position.startswith(FOLDS_OWN):
        return _replay_observation(letter, now_ms)
    account = accounts.get(letter.account)
    if account is None:
        return Replayed(
            left="unknown account",
            detail=f"of account {letter.account}, for which this configuration has no gateway and no key",
        )
    place = msgspec.structs.replace(NOWHERE, publish_time_at_ms=letter.received_at_ms)
    message = CapturedMessage(letter.payload, letter.properties, place)
    judgement = judge(account, message, letter.received_at_ms)
    if judgement.observations:
        return Replayed(hints=tuple(_hint(seen, letter, now_ms) for seen in judgement.observations))
    if judgement.counted_as is not None:
        return Replayed(left="nothing to ask", detail=f"understood, and {judgement.counted_as}")
    again = judgement.dead_letter
    if again is None:
        raise AssertionError("a message leads to records or to a count")
    return Replayed(left=again.reason, detail=again.detail)


def _replay_observation(letter: DeadLetter, now_ms: int) -> Replayed:
    try:
        seen = _observation(letter.payload)
    except UNREADABLE as error:
        return Replayed(left="not an observation", detail=f"no observation ({error})")
    if not seen.device_id:
        return Replayed(left="no device", detail=f"an observation of kind {seen.kind}, which names no device")
    return Replayed(hints=(_hint(seen, letter, now_ms),))


def _hint(seen: Observation, letter: DeadLetter, now_ms: int) -> Observation:
    """Return the hint. Its vendor time is the message's own: a device that was removed since is not back by it."""
    return Observation(
        device_id=seen.device_id,
        cloud=seen.cloud,
        account=seen.account,
        product_id=seen.product_id,
        kind="hint",
        vendor_time_at_ms=seen.vendor_time_at_ms or seen.asked_at_ms or seen.observed_at_ms,
        observed_at_ms=now_ms,
        evidence=ObservedEvidence(
            origin="bridge", name=EVIDENCE_NAME, raw={"dead_letter": letter.source_position}
        ),
    )
