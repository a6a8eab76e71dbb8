"""An account at the simulated Hedwig: an access key of an instance."""

from __future__ import annotations

from deploy.sandbox.cloud.account import SimulatedAccount, random_text


class HedwigAccount(SimulatedAccount, frozen=True, kw_only=True):
    """An access key."""

    access_key_id: str
    access_key_secret: str

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return {
            "cloud": self.cloud,
            "access_key_id": self.access_key_id,
            "access_key_secret": self.access_key_secret,
        }


def new_hedwig_account(name: str) -> HedwigAccount:
    """Make an account with fresh random credentials in the vendor's shape."""
    return HedwigAccount(
        name=name, cloud="hedwig", access_key_id=random_text(24), access_key_secret=random_text(30)
    )
