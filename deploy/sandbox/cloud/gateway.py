"""One account's message gateway: every push passes its faults, is sealed, and goes to the real Pulsar.

The way of a push: dropped or not → delayed, held back, duplicated → spoiled or not → sealed with a key and a mode →
published under its device id. Its campaign's tally counts it once the broker has it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from deploy.sandbox.cloud.envelope import SPOILERS, Key, Manner, Sealed, Spoiling, seal
from deploy.sandbox.cloud.faults import Dice, Die, FaultBoard
from deploy.sandbox.cloud.fleet import Device, Fleet
from deploy.sandbox.cloud.messages import Message, naming_another, without_device
from deploy.sandbox.cloud.publisher import Publisher
from deploy.sandbox.cloud.reader_progress import Position, ReaderProgress
from deploy.sandbox.cloud.timeline import Timeline
from deploy.sandbox.cloud.tuya.account import TuyaAccount

_DEFAULT_ECB_SHARE = 0.25
_UNNAMED_ECB_SHARE = 0.2
"""Of ECB messages: the property `em` is absent, as in old projects."""
_ENCRYPT_VERSION_SHARE = 0.5
_CORE_SIGN_SHARE = 0.25
_HELD_BACK_S = (0.3, 2.0)
_DUPLICATE_S = 1.5
_TOO_LARGE_SHARE = 0.02
"""Of spoiled messages: a megabyte each, so few."""
_MOST_WAITING = 50_000
"""Data-point reports are left out while the broker is this far behind: they are noise, and memory is not."""

_SPOILT_SMALL = tuple(reason for reason in SPOILERS if reason != "too_large")


class PushTally:
    """What became of a campaign's pushes. Duplicates count as sent; `waiting` are those still on their way."""

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = 0
        self.garbled: Counter[str] = Counter()
        self.waiting = 0


class NoGateway:
    """Stands where an account's cloud pushes nothing."""

    is_there = False

    def __init__(self, vendor_now_s: Callable[[], float]) -> None:
        self._vendor_now_s = vendor_now_s

    @property
    def vendor_time_ms(self) -> int:
        """The vendor's clock."""
        return int(self._vendor_now_s() * 1000)

    def push(
        self,
        device: Device,
        messages: Iterable[Message],
        *,
        fate: str,
        tally: PushTally,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        """Nothing is pushed."""


class Gateway:
    """Pushes messages of one account's devices."""

    is_there = True

    def __init__(
        self,
        account: TuyaAccount,
        fleet: Fleet,
        *,
        timeline: Timeline,
        faults: FaultBoard,
        publisher: Publisher,
        reader: ReaderProgress,
    ) -> None:
        self._account = account
        self._fleet = fleet
        self._timeline = timeline
        self._faults = faults
        self._publisher = publisher
        self._reader = reader
        self._key = Key(account.access_key)
        previous = account.previous_access_key
        self._previous_key = None if previous is None else Key(previous)
        # Nonces must not repeat over restarts with the same key: they begin at the time of this start.
        self._nonce = time.time_ns() << 16

    @property
    def vendor_time_ms(self) -> int:
        """The vendor's clock."""
        skew_s = self._faults.of(self._account.name).rest_clock_skew_s
        return int((self._timeline.now_s() + skew_s) * 1000)

    def push(
        self,
        device: Device,
        messages: Iterable[Message],
        *,
        fate: str,
        tally: PushTally,
        on_read: Callable[[], None] | None = None,
    ) -> None:
        """Push messages of a device; `fate` seeds the dice of their faults. `on_read`: a good copy was acknowledged."""
        for number, message in enumerate(messages):
            self._push_one(device, message, Dice(f"{fate}/{number}"), tally, on_read)

    def report(self, device: Device, message: Message, dice: Dice) -> bool:
        """Push a data-point report; push faults other than silence do not concern it. False when it was left out."""
        faults = self._faults.of(self._account.name)
        if faults.gateway_silent or self._publisher.waiting > _MOST_WAITING:
            return False
        self._publisher.publish(self._seal(message, dice), device.device_id, lambda _: None)
        return True

    def _push_one(
        self,
        device: Device,
        message: Message,
        dice: Dice,
        tally: PushTally,
        on_read: Callable[[], None] | None,
    ) -> None:
        faults = self._faults.of(self._account.name)
        if dice.hits(Die.SILENCE, float(faults.gateway_silent)) or dice.hits(Die.DROP, faults.push_drop):
            tally.dropped += 1
            return
        delay_s = faults.push_delay_s
        if dice.hits(Die.HOLD_BACK, faults.push_reorder):
            delay_s += _HELD_BACK_S[0] + dice[Die.HOLD_BACK_S] * (_HELD_BACK_S[1] - _HELD_BACK_S[0])
        if dice.hits(Die.GARBLE, faults.push_garble):
            self._later(delay_s, tally, lambda done: self._publish_spoilt(device, message, dice, tally, done))
            return

        def good(done: Callable[[], None]) -> None:
            def confirmed(position: Position) -> None:
                tally.sent += 1
                if on_read is not None:
                    self._reader.when_read(position, on_read)
                done()

            self._publisher.publish(self._seal(message, dice), device.device_id, confirmed)

        self._later(delay_s, tally, good)
        if dice.hits(Die.DUPLICATE, faults.push_duplicate):
            self._later(delay_s + dice[Die.DUPLICATE_S] * _DUPLICATE_S, tally, good)

    def _later(self, delay_s: float, tally: PushTally, publish: Callable[[Callable[[], None]], None]) -> None:
        tally.waiting += 1

        def done() -> None:
            tally.waiting -= 1

        if delay_s > 0:
            self._timeline.after(delay_s, lambda: publish(done))
        else:
            publish(done)

    def _publish_spoilt(
        self, device: Device, message: Message, dice: Dice, tally: PushTally, done: Callable[[], None]
    ) -> None:
        reason = self._spoil_reason(dice)
        other = self._fleet[(device.number + 1) % len(self._fleet)]
        # A message about a device that was removed would say that it is back.
        if reason == "id_conflict" and (other is device or other.removed):
            reason = "unknown_shape"
        key, manner = self._manner(dice)
        parts = Spoiling(
            body=message.body,
            protocol=message.protocol,
            t_ms=self.vendor_time_ms,
            key=key,
            manner=manner,
            nonce=self._next_nonce(),
            body_without_device=without_device(message).body,
            body_naming_two=naming_another(message, other).body,
        )

        def confirmed(_position: Position) -> None:
            tally.garbled[reason] += 1
            done()

        self._publisher.publish(SPOILERS[reason](parts), device.device_id, confirmed)

    @staticmethod
    def _spoil_reason(dice: Dice) -> str:
        if dice.hits(Die.GARBLE_TOO_LARGE, _TOO_LARGE_SHARE):
            return "too_large"
        return _SPOILT_SMALL[int(dice[Die.GARBLE_REASON] * len(_SPOILT_SMALL))]

    def _seal(self, message: Message, dice: Dice) -> Sealed:
        key, manner = self._manner(dice)
        return seal(
            message.body,
            protocol=message.protocol,
            t_ms=self.vendor_time_ms,
            key=key,
            manner=manner,
            nonce=self._next_nonce(),
        )

    def _manner(self, dice: Dice) -> tuple[Key, Manner]:
        faults = self._faults.of(self._account.name)
        key = self._key
        if self._previous_key is not None and dice.hits(Die.PREVIOUS_KEY, faults.push_previous_key):
            key = self._previous_key
        ecb_share = _DEFAULT_ECB_SHARE if faults.push_ecb_share is None else faults.push_ecb_share
        if dice.hits(Die.ECB, ecb_share):
            return key, Manner(mode="aes_ecb", name_mode=not dice.hits(Die.MODE_NAMED, _UNNAMED_ECB_SHARE))
        return key, Manner(
            mode="aes_gcm",
            encrypt_version=dice.hits(Die.ENCRYPT_VERSION, _ENCRYPT_VERSION_SHARE),
            sign_all_fields=not dice.hits(Die.CORE_SIGN, _CORE_SIGN_SHARE),
        )

    def _next_nonce(self) -> bytes:
        self._nonce += 1
        return (self._nonce % 2**96).to_bytes(12, "big")
