"""Steps 2 to 6: from payloads as received to the records they lead to.

Everything here is computation on values, run in the thread that received the messages. Whatever a message holds, it
ends as records or as a count: nothing that a stranger can send raises.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from consumer.dead_letters import dead_letter
from consumer.decryption import AccountKey, decrypt_with_any
from consumer.envelope import Envelope, open_envelope
from consumer.errors import IdConflict, Rejected
from consumer.filtering import Filter
from consumer.messages import DeviceOtaProgress, Message, Unlisted, decode_body, unrecognised_members
from consumer.normalise import Push, hint, is_unknown_status, observe
from consumer.notices import Notice, take_notice
from consumer.settings import GatewayAccount
from consumer.signature import verify
from consumer.sink import OutgoingRecord
from consumer.source import SourceMessage, encryption_of, properties_of
from consumer.statistics import Counters
from schemas import Observation, Position

log = structlog.get_logger(__name__)

_NOTHING: Final[tuple[OutgoingRecord, ...]] = ()
TOGETHER: Final = 64
"""So many messages go through the steps together. What one of them has of the unusual, all of them pay for."""
ALONE_AFTERWARDS: Final = 8
"""So many parts then go one by one at once: where unusual messages are frequent, to try costs more than it gives."""
LARGE_BYTES: Final = 16 * 1024
"""A larger message goes by itself: what all steps make of a part is held until its end."""

Passed = tuple[SourceMessage, bytes, Position]
"""A message that was not filtered: itself, its payload, and where it stood."""

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines


class _Unusual(Exception):
    """A message among others needs to be looked at by itself."""


class Translator:
    """One account's steps 2 to 6. Belongs to one thread: its ciphers and counters are not shared."""

    def __init__(self, account: GatewayAccount, counters: Counters) -> None:
        gateway = account.gateway
        self._settings = account
        self._account = account.name
        self._cloud = account.cloud
        self._counters = counters
        self._keep_raw = account.evidence_raw == "redacted"
        self._size_limit = gateway.max_message_bytes
        self._filtered = frozenset(gateway.filter_protocols)
        self.filter = Filter(gateway.max_message_bytes, gateway.filter_protocols, counters.filtered)
        self._require_sign = gateway.sign_policy == "require"
        keys = [AccountKey(account.access_key, "current")]
        if account.previous_access_key is not None:
            keys.append(AccountKey(account.previous_access_key, "previous"))
        self._keys = tuple(keys)
        self._parts_alone = 0

    def translate_all(
        self, passed: Sequence[Passed], received_at_ms: int
    ) -> list[tuple[OutgoingRecord, ...]]:
        """Return for each of these messages what `translate` returns."""
        translated: list[tuple[OutgoingRecord, ...]] = []
        for start in range(0, len(passed), TOGETHER):
            part = passed[start : start + TOGETHER]
            if self._parts_alone:
                self._parts_alone -= 1
            else:
                try:
                    translated += self._together(part, received_at_ms)
                    continue
                except Exception:  # noqa: BLE001 (nothing is counted yet: one by one each of them ends as it must)
                    self._parts_alone = ALONE_AFTERWARDS
            translated += [self.translate(*each, received_at_ms) for each in part]
        return translated

    def _together(self, passed: Sequence[Passed], received_at_ms: int) -> list[tuple[OutgoingRecord, ...]]:
        """Translate messages that have nothing unusual: each step for all of them, then the next.

        Message by message the steps push each other's code out of the processor's caches, and take half as long
        again. Whatever is unusual raises, before anything is counted.
        """
        messages, payloads, positions = zip(*passed, strict=True)
        if max(map(len, payloads)) > LARGE_BYTES:
            raise _Unusual
        # 2. Frame.
        opened = [open_envelope(payload, self._size_limit, self._filtered) for payload in payloads]
        # 3. Filter, before any cryptography.
        kept = [
            index for index, (envelope, _) in enumerate(opened) if envelope.protocol not in self._filtered
        ]
        envelopes = [opened[index][0] for index in kept]
        # 4. Verify.
        matches = [match for index in kept if (match := verify(*opened[index], self._keys)) is not None]
        if len(matches) != len(kept):
            raise _Unusual
        # 5. Decrypt.
        encryptions = [messages[index].properties().get("em") for index in kept]
        plaintexts = [
            key.decrypt(envelope.data, encryption)
            for (key, _), envelope, encryption in zip(matches, envelopes, encryptions, strict=True)
        ]
        # 6. Decode and normalise.
        bodies = [
            decode_body(plaintext, envelope.protocol)
            for plaintext, envelope in zip(plaintexts, envelopes, strict=True)
        ]
        account, cloud, keep_raw = self._account, self._cloud, self._keep_raw
        pushes = [
            Push(account, cloud, envelope.t, positions[index], received_at_ms, len(plaintext), keep_raw)
            for index, envelope, plaintext in zip(kept, envelopes, plaintexts, strict=True)
        ]
        told = [(index, body) for index, body in enumerate(bodies) if isinstance(body, Message)]
        unlisted = [body.biz_code for body in bodies if isinstance(body, Unlisted)]
        if len(told) + len(unlisted) != len(bodies):
            raise _Unusual
        observations = [observe(body, pushes[index]) for index, body in told]
        hints = [
            (observation, _unrecognised(body, plaintexts[index]))
            for (index, body), observation in zip(told, observations, strict=True)
            if observation.kind == "hint"
        ]
        # Encoded together, each is a line: JSON itself holds no end of a line.
        lines = _encode_lines(observations).splitlines()
        translated = [_NOTHING] * len(messages)
        for (index, _), observation, line in zip(told, observations, lines, strict=True):
            translated[kept[index]] = (_outgoing(observation, line),)
        # Nothing raises any more.
        counters = self._counters
        if len(kept) < len(opened):
            protocols = [envelope.protocol for envelope, _ in opened]
            counters.filtered.update([protocol for protocol in protocols if protocol in self._filtered])
        counters.signatures.update([candidate for _, candidate in matches])
        counters.keys.update([key.name for key, _ in matches])
        counters.observations.update([observation.kind for observation in observations])
        for biz_code in unlisted:
            counters.unlisted.add_foreign(biz_code)
        for observation, names in hints:
            self._count_unknown(observation, names)
        return translated

    def translate(
        self, message: SourceMessage, payload: bytes, position: Position, received_at_ms: int
    ) -> tuple[OutgoingRecord, ...]:
        """Return the records that the message leads to; none where it only counts."""
        counters = self._counters
        try:
            # 2. Frame.
            envelope, others = open_envelope(payload, self._size_limit, self._filtered)
            # 3. Filter, before any cryptography.
            if envelope.protocol in self._filtered:
                counters.filtered[envelope.protocol] += 1
                return _NOTHING
            # 4. Verify.
            keys = self._verified(envelope, others)
            # 5. Decrypt.
            encryption = encryption_of(message)
            if len(keys) == 1:
                plaintext = keys[0].decrypt(envelope.data, encryption)
            else:
                # Under `warn` nobody knows which key it was.
                _, plaintext = decrypt_with_any(keys, envelope.data, encryption)
            # 6. Decode and normalise.
            body = decode_body(plaintext, envelope.protocol)
            if isinstance(body, Unlisted):
                counters.unlisted.add_foreign(body.biz_code)
                return _NOTHING
            if isinstance(body, Notice):
                take_notice(body, self._settings, envelope.t, counters)
                return _NOTHING
            push = Push(
                account=self._account,
                cloud=self._cloud,
                pushed_at_ms=envelope.t,
                position=position,
                observed_at_ms=received_at_ms,
                body_bytes=len(plaintext),
                keep_raw=self._keep_raw,
            )
            try:
                observation = observe(body, push)
            except IdConflict as conflict:
                letter = self.dead_letter(conflict, message, payload, position, received_at_ms)
                hints = [hint(body, push, device_id) for device_id in conflict.device_ids]
                return (letter, *(self._record(observation) for observation in hints))
            if observation.kind == "hint":
                self._count_unknown(observation, _unrecognised(body, plaintext))
            return (self._record(observation),)
        except Rejected as rejected:
            return (self.dead_letter(rejected, message, payload, position, received_at_ms),)
        except Exception as error:  # noqa: BLE001 (bad input must cost one dead letter, never the stream)
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "message_not_understood",
                account=self._account,
                error=type(error).__name__,
                module=where.filename.rsplit("/", 1)[-1],
                line=where.lineno,
                remedy="this is a defect of ours: replay the dead letter after an upgrade",
            )
            internal = Rejected("internal_error", type(error).__name__)
            return (self.dead_letter(internal, message, payload, position, received_at_ms),)

    def dead_letter(
        self,
        rejected: Rejected,
        message: SourceMessage,
        payload: bytes,
        position: Position,
        received_at_ms: int,
    ) -> OutgoingRecord:
        """Return the dead letter of a message, and count it."""
        self._counters.dead_letters[rejected.reason] += 1
        return dead_letter(
            reason=rejected.reason,
            detail=rejected.detail,
            account=self._account,
            position=position,
            received_at_ms=received_at_ms,
            payload=payload,
            properties=properties_of(message),
        )

    def _verified(self, envelope: Envelope, others: dict[str, str] | None) -> tuple[AccountKey, ...]:
        """Return the keys that may decrypt: the one that signed, or under `warn` all of them."""
        try:
            match = verify(envelope, others, self._keys)
        except Rejected:
            if self._require_sign:
                raise
            match = None
        if match is not None:
            key, candidate = match
            self._counters.signatures[candidate] += 1
            self._counters.keys[key.name] += 1
            return (key,)
        if self._require_sign:
            raise Rejected("bad_signature", "no configured access key signed this envelope")
        self._counters.signatures["unverified"] += 1
        return self._keys

    def _count_unknown(self, observation: Observation, unrecognised: Sequence[str]) -> None:
        """Count what a hint is for want of a meaning that we know."""
        if is_unknown_status(observation):
            self._counters.unknown_statuses += 1
        for name in unrecognised:
            self._counters.unrecognised_members.add_foreign(name)

    def _record(self, observation: Observation) -> OutgoingRecord:
        record = _outgoing(observation, _encode(observation))
        self._counters.observations[observation.kind] += 1
        return record


def _outgoing(observation: Observation, value: bytes) -> OutgoingRecord:
    return OutgoingRecord("observations", observation.device_id.encode(), value, observation.observed_at_ms)


def _unrecognised(body: Message, plaintext: bytes) -> Sequence[str]:
    return unrecognised_members(plaintext) if isinstance(body, DeviceOtaProgress) else ()
