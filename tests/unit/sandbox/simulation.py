"""The simulated cloud without brokers, servers and waiting: a clock that is set, and pushes that are collected."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.campaign import Campaign, CampaignOrder
from deploy.sandbox.cloud.envelope import Sealed
from deploy.sandbox.cloud.faults import FaultBoard
from deploy.sandbox.cloud.fleet import Fleet
from deploy.sandbox.cloud.gateway import Gateway, NoGateway
from deploy.sandbox.cloud.reader_progress import Position
from deploy.sandbox.cloud.request_log import RequestLog
from deploy.sandbox.cloud.rest import Surroundings
from deploy.sandbox.cloud.system import SimulatedSystem
from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.timeline import Timeline
from deploy.sandbox.cloud.tuya.account import TuyaAccount

BEGIN_S = 1_700_000_000.0
ACCOUNT = TuyaAccount(
    name="tuya-demo",
    cloud="tuya-cloud",
    access_id="accessIdtesttesttest",
    access_key="accessKeyesttesttesttesttesttest",
    previous_access_key="previousKeyttesttesttesttesttest",
    rate_per_s=50,
)


class Collector:
    """A publisher whose broker answers at once, or holds everything back while `down`."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Sealed]] = []
        self.down = False
        self._held: list[Callable[[], None]] = []

    @property
    def waiting(self) -> int:
        return len(self._held)

    def publish(self, sealed: Sealed, device_id: str, confirmed: Callable[[Position], None]) -> None:
        def accept() -> None:
            self.sent.append((device_id, sealed))
            confirmed(Position(0, 1, len(self.sent)))

        if self.down:
            self._held.append(accept)
        else:
            accept()

    def recover(self) -> None:
        self.down = False
        held, self._held = self._held, []
        for accept in held:
            accept()


class Reader:
    """A subscriber that acknowledges at once, or never when `absent`."""

    def __init__(self) -> None:
        self.absent = False

    def when_read(self, _position: Position, action: Callable[[], None]) -> None:
        if not self.absent:
            action()


class Simulation:
    """One account of one cloud; `system` is that cloud's, where it is another than Tuya's IoT Core."""

    def __init__(
        self, *, seed: int = 1, account: SimulatedAccount = ACCOUNT, system: SimulatedSystem | None = None
    ) -> None:
        system = system or SYSTEMS[account.cloud]
        self.now_s = BEGIN_S
        self._campaigns = 0
        self.timeline = Timeline(lambda: self.now_s)
        self.faults = FaultBoard((account.name,))
        self.publisher = Collector()
        self.reader = Reader()
        self.fleet = Fleet(account=account.name, cloud=account.cloud, seed=seed, manner=system.manner)
        self.gateway: Gateway | NoGateway = NoGateway(self.clock)
        if system.has_gateway and isinstance(account, TuyaAccount):
            self.gateway = Gateway(
                account,
                self.fleet,
                timeline=self.timeline,
                faults=self.faults,
                publisher=self.publisher,
                reader=self.reader,
            )
        self.tenant = Tenant(
            account=account,
            fleet=self.fleet,
            gateway=self.gateway,
            requests=RequestLog(account.rate_per_s, account.rate_window_s),
            can_express=system.endings,
        )

    @property
    def surroundings(self) -> Surroundings:
        return Surroundings(faults=self.faults, now_s=self.clock, seed=1)

    def clock(self) -> float:
        return self.now_s

    def advance(self, seconds: float = 1e9) -> None:
        """Let `seconds` pass, or all there is to come."""
        until_s = self.now_s + seconds
        while (next_at_s := self.timeline.next_at_s) is not None and next_at_s <= until_s:
            self.now_s = max(self.now_s, next_at_s)
            self.timeline.run_due()
        if seconds < 1e9:
            self.now_s = until_s

    def moments(self) -> Iterator[float]:
        """Let everything to come happen, one moment at a time; gives the seconds since the beginning."""
        while (next_at_s := self.timeline.next_at_s) is not None:
            self.now_s = max(self.now_s, next_at_s)
            self.timeline.run_due()
            yield self.now_s - BEGIN_S

    def campaign(self, devices: int = 1, **order: Any) -> Campaign:
        """Start a campaign over idle and new devices."""
        taken = [device for device, _ in zip(self.fleet.idle(), range(devices), strict=False)]
        taken += [self.fleet.create() for _ in range(devices - len(taken))]
        asked = CampaignOrder(account=self.tenant.account.name, devices=devices, **order)
        self._campaigns += 1
        campaign = Campaign(
            f"campaign-{self._campaigns}",
            asked,
            taken,
            fleet=self.fleet,
            timeline=self.timeline,
            gateway=self.gateway,
            can_express=self.tenant.can_express,
        )
        campaign.start()
        return campaign

    def all_of(self, ending: str, devices: int = 1, **order: Any) -> Campaign:
        """Start a campaign in which every device has this ending."""
        return self.campaign(devices, endings={ending: 1.0}, rate_per_s=1000.0, **order)

    def truths(self) -> list[dict[str, Any]]:
        return [msgspec.to_builtins(self.fleet.truth(device)) for device in self.fleet]
