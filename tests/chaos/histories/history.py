"""What truly happens to one device: its upgrades, what the gateway is to push of them, and what the cloud's API shows.

A history is made before anything is folded: it is the truth, and nothing of it depends on the bridge. Times are seconds
since the history's start, in the vendor's clock.
"""

from __future__ import annotations

from bisect import bisect_right

from msgspec import Struct
from msgspec.structs import replace

from schemas import Status


class Shown(Struct, frozen=True):
    """What the firmware API shows of a channel: Tuya's number, the running and the offered version.

    `upgrade`: of which upgrade this tells.
    """

    value: int
    current: str
    target: str | None = None
    progress: int | None = None
    upgrade: int | None = None


class Push(Struct, frozen=True, kw_only=True):
    """A message of the gateway; one without a channel is of the device. `value`: Tuya's upgradeStatus, or per cent."""

    at_s: float
    kind: str
    channel: str | None = None
    value: int = 0
    upgrade: int


class Upgrade(Struct, kw_only=True):
    """One true attempt and its end. `number` counts the history's upgrades."""

    number: int
    channel: str
    kind: str
    began_s: float
    from_version: str
    target: str
    ended_s: float = 0.0
    status: Status = "unknown"
    version: str = ""
    reset: bool = False
    """The cloud's API forgets the outcome after a while."""


class ChannelLife(Struct, kw_only=True):
    """One channel: its true upgrades, and everything that its API shows, in order."""

    name: str
    version: str
    upgrades: list[Upgrade] = []
    views: list[Shown] = []
    view_times: list[float] = []

    def show(self, at_s: float, shown: Shown, *, of: int | None = None) -> None:
        """From `at_s` on the API shows this, of upgrade `of`; never before what it was told earlier."""
        latest_s = self.view_times[-1] if self.view_times else 0.0
        self.view_times.append(max(at_s, latest_s))
        self.views.append(replace(shown, upgrade=of))

    def forget_after(self, at_s: float) -> None:
        """The API never comes to show what it was to show after `at_s`: the next attempt begins."""
        keep = bisect_right(self.view_times, at_s)
        del self.views[keep:], self.view_times[keep:]

    def shown_at(self, at_s: float) -> Shown:
        """What the API shows when asked at `at_s`."""
        return self.views[max(0, bisect_right(self.view_times, at_s) - 1)]

    def upgrade_at(self, at_s: float) -> Upgrade | None:
        """The latest upgrade that had begun."""
        return next((upgrade for upgrade in reversed(self.upgrades) if upgrade.began_s <= at_s), None)

    def lie_at(self, at_s: float) -> Shown:
        """An answer from before the latest attempt began."""
        upgrade = self.upgrade_at(at_s)
        return self.shown_at(at_s if upgrade is None else upgrade.began_s - 0.001)


class History(Struct, frozen=True, kw_only=True):
    """A device's whole story."""

    device_id: str
    channels: dict[str, ChannelLife]
    upgrades: list[Upgrade]
    pushes: list[Push]
    calm_from_s: float
    """When the last upgrade is over and the weather clears."""
    until_s: float
    """When it is judged."""
