"""Reads collected pushes with the bridge's own stage one, which was written apart from the simulated gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings
from consumer.statistics import Counters
from consumer.translation import Translator
from deploy.sandbox.cloud.envelope import Sealed
from deploy.sandbox.cloud.tuya.account import TuyaAccount
from schemas import DeadLetter, Observation
from tests.gateway_messages import translated
from tests.unit.sandbox.simulation import ACCOUNT


class Received:
    def __init__(self, sealed: Sealed, number: int) -> None:
        self._sealed = sealed
        self._number = number

    def data(self) -> bytes:
        return self._sealed.payload

    def properties(self) -> dict[str, str]:
        return self._sealed.properties

    def message_id(self) -> Received:
        return self

    def ledger_id(self) -> int:
        return 1

    def entry_id(self) -> int:
        return self._number

    def batch_index(self) -> int:
        return -1

    def publish_timestamp(self) -> int:
        return 1_700_000_000_000

    def topic_name(self) -> str:
        return "persistent://accessIdtesttesttest/out/event-partition-0"


class GatewayReader:
    """Reads what a collector collected; each call goes on where the last one ended."""

    def __init__(self, simulated: TuyaAccount = ACCOUNT) -> None:
        self.counters = Counters()
        account = GatewayAccount(
            name=simulated.name,
            cloud=simulated.cloud,
            access_id=simulated.access_id,
            access_key=Secret(simulated.access_key),
            previous_access_key=Secret(simulated.previous_access_key or ""),
            gateway=GatewaySettings(url="pulsar://127.0.0.1:1", subscription="s", tls_verify=False),
        )
        self._translator = Translator(account, self.counters)
        self._next = 0
        self.dead_letters: Counter[str] = Counter()

    def read(self, sent: Sequence[tuple[str, Sealed]]) -> list[Observation]:
        observations: list[Observation] = []
        for number in range(self._next, len(sent)):
            message = Received(sent[number][1], number)
            for record in translated(self._translator, message, at_ms=1_700_000_000_000):
                if record.topic == "dead-letters":
                    self.dead_letters[msgspec.json.decode(record.value, type=DeadLetter).reason] += 1
                else:
                    observations.append(msgspec.json.decode(record.value, type=Observation))
        self._next = len(sent)
        return observations
