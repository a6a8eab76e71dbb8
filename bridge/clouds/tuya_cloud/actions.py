"""What Tuya's documented firmware calls change: only people ask for it, by the command line; no stage imports this."""

from __future__ import annotations

from typing import Final

from bridge.clouds.client import Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.tuya.dialect import tuya_client
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.tuya.sign import path_of

CONFIRM_API: Final = "thing-firmware-confirm"
CONFIRM_PATH: Final = "/v2.0/cloud/thing/{device_id}/firmware/{channel}"


class TuyaActions:
    """One account's call that changes something; it is not repeated. Raises CloudError."""

    def __init__(self, account: ApiAccount[TuyaCredentials, TuyaApi], means: Means) -> None:
        self._client = tuya_client(account, means, VendorClock(means.now_ms))

    async def confirm(self, device_id: str, channel: str) -> bool:
        """Confirm the start of a channel's upgrade. Return whether the cloud says that it began."""
        path = path_of(CONFIRM_PATH, device_id=device_id, channel=channel)
        reply = await self._client.act(Call(api=CONFIRM_API, method="POST", path=path))
        return reply.result is True
