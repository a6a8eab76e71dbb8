"""An account at Tuya: a cloud project with a gateway and an OpenAPI."""

from __future__ import annotations

from bridge.clouds.tuya.settings import TuyaCredentials
from consumer.secret import Secret
from deploy.sandbox.cloud.account import SimulatedAccount, random_text


class TuyaAccount(SimulatedAccount, frozen=True, kw_only=True):
    """A cloud project. `access_id` is also its Pulsar tenant."""

    access_id: str
    access_key: str
    """32 ASCII characters: the root of authentication, signature and encryption."""
    previous_access_key: str | None = None
    """Still used for some messages under the knob `push_previous_key`."""

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return {
            "cloud": self.cloud,
            "access_id": self.access_id,
            "access_key": self.access_key,
            "topic": f"persistent://{self.access_id}/out/event",
            "subscription": self.subscription,
        }

    @property
    def subscription(self) -> str:
        """The subscription that is made beforehand."""
        return f"{self.access_id}-sub"

    def credentials(self) -> TuyaCredentials:
        """The account's table in the bridge's configuration."""
        previous = self.previous_access_key
        return TuyaCredentials(
            access_id=self.access_id,
            access_key=Secret(self.access_key),
            previous_access_key=None if previous is None else Secret(previous),
        )


def new_tuya_account(name: str, cloud: str) -> TuyaAccount:
    """Make an account with fresh random credentials in the vendor's shape."""
    return TuyaAccount(
        name=name,
        cloud=cloud,
        access_id=random_text(20),
        access_key=random_text(32),
        previous_access_key=random_text(32),
    )
