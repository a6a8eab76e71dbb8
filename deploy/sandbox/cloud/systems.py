"""Which clouds are simulated: the one table that a new one is added to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from deploy.sandbox.cloud import enos, hedwig, illume, oceanconnect, tuya_cloud
from deploy.sandbox.cloud.account import SimulatedAccount
from deploy.sandbox.cloud.system import SimulatedSystem

SYSTEMS: Final[Mapping[str, SimulatedSystem]] = {
    "tuya-cloud": tuya_cloud.SYSTEM,
    "illume": illume.SYSTEM,
    "hedwig": hedwig.SYSTEM,
    "oceanconnect": oceanconnect.SYSTEM,
    "enos": enos.SYSTEM,
}


def new_account(name: str, cloud: str = "tuya-cloud", *, rate_per_s: float | None = None) -> SimulatedAccount:
    """Make an account with fresh random credentials in its vendor's shape."""
    account = SYSTEMS[cloud].new_account(name)
    return account if rate_per_s is None else msgspec.structs.replace(account, rate_per_s=rate_per_s)


def demo_accounts() -> tuple[SimulatedAccount, ...]:
    """Make the sandbox's accounts: one of each cloud."""
    return tuple(new_account(system.demo_name or f"{cloud}-demo", cloud) for cloud, system in SYSTEMS.items())
