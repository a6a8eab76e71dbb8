"""Steps 2 to 6 for one message: from the payload as received to the records it leads to.

Everything here is computation on values, run in the thread that received the message. Whatever a message holds, it
ends as records or as a count: nothing that a stranger can send raises.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, MutableMapping, Sequence
from typing import Final

import msgspec
import structlog

from consumer.dead_letters import dead_letter
from consumer.decryption import AccountKey, decrypt_with_any
from consumer.envelope import AFTER_DATA, DATA_FIRST, PROTOCOL, Envelope, open_envelope
from consumer.errors import IdConflict, Rejected
from consumer.messages import DeviceOtaProgress, Message, Unlisted, decode_body, unrecognised_members
from consumer.normalise import Push, hint, is_unknown_status, observe
from consumer.notices import Notice, take_notice
from consumer.settings import GatewayAccount
from consumer.signature import verify
from consumer.sink import OutgoingRecord
from consumer.source import SourceMessage, encryption_of, position_of, properties_of
from consumer.statistics import Counters
from schemas import Observation, Position

log = structlog.get_logger(__name__)

_NOTHING: Final[tuple[OutgoingRecord, ...]] = ()
_BUFFER_BYTES: Final = 4096

_encode_into = msgspec.json.Encoder().encode_into


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
        self.is_filtered = _filter(gateway.max_message_bytes, gateway.filter_protocols, counters.filtered)
        self._require_sign = gateway.sign_policy == "require"
        keys = [AccountKey(account.access_key, "current")]
        if account.previous_access_key is not None:
            keys.append(AccountKey(account.previous_access_key, "previous"))
        self._keys = tuple(keys)
        self._buffer = bytearray(_BUFFER_BYTES)

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
                self._count_unknown(observation, body, plaintext)
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

    def _count_unknown(self, observation: Observation, body: Message, plaintext: bytes) -> None:
        """Count what a hint is for want of a meaning that we know."""
        if is_unknown_status(observation):
            self._counters.unknown_statuses += 1
        if isinstance(body, DeviceOtaProgress):
            for name in unrecognised_members(plaintext):
                self._counters.unrecognised_members.add_foreign(name)

    def _record(self, observation: Observation) -> OutgoingRecord:
        self._counters.observations[observation.kind] += 1
        # The encoder's own `encode` begins with less room than an observation takes, and moves it twice.
        _encode_into(observation, self._buffer)
        return OutgoingRecord(
            "observations", observation.device_id.encode(), bytes(self._buffer), observation.observed_at_ms
        )


def _filter(
    size_limit: int, protocols: Sequence[int], filtered: MutableMapping[int, int]
) -> Callable[[bytes], bool]:
    """Return what tells, without decoding it, whether a message is of a filtered protocol: nine of ten are.

    It knows the form in which the platform writes; what is written otherwise `translate` filters. What follows the
    protocol is not read, but that it ends like an envelope and names no second protocol. A function rather than a
    method, for what it looks at each time are constants.
    """
    begin, data_at = DATA_FIRST, len(DATA_FIRST)
    starts = tuple((AFTER_DATA % protocol, protocol) for protocol in protocols)

    def is_filtered(payload: bytes) -> bool:
        if not payload.startswith(begin) or len(payload) > size_limit:
            return False
        # The first quote ends `data`, whose base64 has neither quotes nor escapes.
        end = payload.find(b'"', data_at)
        for start, protocol in starts:
            if payload.startswith(start, end):
                if payload.count(PROTOCOL, end) > 1 or not payload.endswith(b"}"):
                    return False
                filtered[protocol] += 1
                return True
        return False

    return is_filtered


def refused_as_too_large(
    account: str, message: SourceMessage, partition: str, received_at_ms: int, *, payload_limit_bytes: int
) -> OutgoingRecord:
    """Return the dead letter of a message whose record Kafka refuses for good; its payload cut as said."""
    return dead_letter(
        reason="too_large",
        detail="Kafka refuses the record as too large (message.max.bytes)",
        account=account,
        position=position_of(message, partition),
        received_at_ms=received_at_ms,
        payload=message.data(),
        properties=properties_of(message),
        payload_limit_bytes=payload_limit_bytes,
    )
