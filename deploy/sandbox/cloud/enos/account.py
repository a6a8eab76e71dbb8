"""An application's service account at EnOS."""

from __future__ import annotations

import uuid

from bridge.clouds.enos.settings import EnosCredentials
from consumer.secret import Secret
from deploy.sandbox.cloud.account import SimulatedAccount, random_text


class EnosAccount(SimulatedAccount, frozen=True, kw_only=True):
    """A service account, and the one organization it may ask about."""

    app_key: str
    app_secret: str
    org_id: str

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return {
            "cloud": self.cloud,
            "app_key": self.app_key,
            "app_secret": self.app_secret,
            "org_id": self.org_id,
        }

    def credentials(self) -> EnosCredentials:
        """The account's table in the bridge's configuration."""
        return EnosCredentials(app_key=self.app_key, app_secret=Secret(self.app_secret), org_id=self.org_id)


def new_enos_account(name: str) -> EnosAccount:
    """Make an account with fresh random credentials in the vendor's shape."""
    return EnosAccount(
        name=name,
        cloud="enos",
        app_key=str(uuid.uuid4()),
        app_secret=str(uuid.uuid4()),
        org_id=f"o{random_text(16)}",
    )
