"""What the lighting API's documented calls change: only people ask for it, by the command line; no stage imports this.

A success means that the request was accepted, whatever its `result` says: the vendor's own sample accepts with `false`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.clouds.client import Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.illume.parameters import Parameters
from bridge.clouds.illume.settings import IllumeApi
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.tuya.dialect import tuya_client
from bridge.clouds.tuya.settings import TuyaCredentials

UPGRADE_API: Final = "illume-upgrade"
UPGRADE_PATH: Final = "/v1.0/cloud/illume/devices/ota/open/upgrade"

SYNC_API: Final = "illume-space-sync"
SYNC_PATH: Final = "/v1.0/cloud/illume/devices/ota/tobeupgraded/roomid"


class IllumeActions:
    """One account's calls that change something; none is repeated. Raises CloudError."""

    def __init__(self, account: ApiAccount[TuyaCredentials, IllumeApi], means: Means) -> None:
        self._client = tuya_client(account, means, VendorClock(means.now_ms))
        self._parameters = Parameters(account.name, account.api.get_params)

    async def upgrade(self, project_id: str, device_ids: Sequence[str]) -> None:
        """Have devices of a project upgraded to the version that is offered to each."""
        body = msgspec.json.encode({"project_id": project_id, "device_ids": list(device_ids)})
        await self._client.act(Call(api=UPGRADE_API, method="POST", path=UPGRADE_PATH, body=body))

    async def sync_space(self, project_id: str, room_id: str) -> None:
        """Have the cloud find out anew which devices of a space can be updated: a GET that changes something."""
        values = {"project_id": project_id, "room_id": room_id}
        await self._parameters.send(self._client.act, api=SYNC_API, path=SYNC_PATH, values=values)
