"""An account at Huawei's platform: an application that logs in with a secret, behind mutual TLS."""

from __future__ import annotations

from bridge.clouds.oceanconnect.settings import OceanConnectCredentials
from consumer.secret import Secret
from deploy.sandbox.cloud.account import SimulatedAccount, random_text

PER_MINUTE = 100


class OceanConnectAccount(SimulatedAccount, frozen=True, kw_only=True):
    """An application."""

    app_id: str
    secret: str

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return {"cloud": self.cloud, "app_id": self.app_id, "secret": self.secret}

    def credentials(self) -> OceanConnectCredentials:
        """The account's table in the bridge's configuration."""
        return OceanConnectCredentials(app_id=self.app_id, secret=Secret(self.secret))


def new_oceanconnect_account(name: str) -> OceanConnectAccount:
    """Make an account with fresh random credentials in the vendor's shape."""
    return OceanConnectAccount(
        name=name,
        cloud="oceanconnect",
        app_id=random_text(28),
        secret=random_text(28),
        rate_per_s=PER_MINUTE / 60,
        rate_window_s=60.0,
    )
