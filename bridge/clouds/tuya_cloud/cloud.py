"""Tuya's IoT Core, public or private: what firmware a device has, and which devices there are.

One lookup asks for the firmware information of a device, which tells all its channels, and for the progress of those
that are being upgraded. Where the project is not subscribed to that API, its predecessors tell the same.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import structlog
from msgspec import Struct

from bridge.clouds.client import Call, Reply
from bridge.clouds.clock import VendorClock
from bridge.clouds.device_file import device_ids
from bridge.clouds.errors import CloudError, Forbidden, SchemaMismatch
from bridge.clouds.evidence import evidence
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Discovered, FirmwarePackage, Looked, Means
from bridge.clouds.tuya.dialect import tuya_client
from bridge.clouds.tuya.errors import NOT_SUBSCRIBED
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.tuya.sign import path_of
from bridge.clouds.tuya.subscriptions import Subscriptions
from bridge.clouds.tuya_cloud.devices import DEVICES_API, DEVICES_PAGE, DEVICES_PATH, page_of
from bridge.clouds.tuya_cloud.firmware import EVIDENCE_FIELDS, FirmwareItem, firmware_items, progress_of
from schemas import PHASES, Observation

log = structlog.get_logger(__name__)


class FirmwareApi(Struct, frozen=True):
    """One of the calls that tell a device's firmware."""

    api: str
    path: str
    tells_progress: bool


FIRMWARE_APIS: Final = (
    FirmwareApi("thing-firmware", "/v2.0/cloud/thing/{device_id}/firmware", tells_progress=True),
    FirmwareApi(
        "iot-03-upgrade-infos", "/v1.0/iot-03/devices/{device_id}/upgrade-infos", tells_progress=False
    ),
    FirmwareApi("upgrade-infos", "/v1.0/devices/{device_id}/upgrade-infos", tells_progress=False),
)
"""The current call and its predecessors, each with an own subscription; asked in this order."""

PROGRESS_API: Final = "thing-firmware-progress"
PROGRESS_PATH: Final = "/v2.0/cloud/thing/{device_id}/firmware/{channel}/progress"


class TuyaCloud:
    """See `Cloud`. Knows of no packages, and needs no sweep: the gateway pushes."""

    has_sweep = False

    def __init__(self, account: ApiAccount[TuyaCredentials, TuyaApi], means: Means) -> None:
        self.clock = VendorClock(means.now_ms)
        self._account = account
        self._client = tuya_client(account, means, self.clock)
        self._subscriptions = Subscriptions(
            account.name, self.clock, meanwhile="older calls are used where there are any"
        )

    async def lookup(self, device_id: str) -> Looked:
        """Ask for the firmware information, then for the progress of each channel that is being upgraded."""
        call, reply = await self._ask_firmware(device_id)
        items = firmware_items(reply.result, api=call.api)
        observations = [
            self._observation(
                device_id, call.api, reply.asked_at_ms, item, await self._progress(device_id, call, item)
            )
            for item in items
        ]
        return Looked(
            device_id=device_id,
            api=call.api,
            asked_at_ms=reply.asked_at_ms,
            observations=tuple(observations),
        )

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the devices by the deployment's device list, or from the file that stands in for it."""
        source = self._account.api.discovery
        if source == "file":
            async for ids in device_ids(self._account.api.discovery_file or ""):
                yield [Discovered(device_id=device_id) for device_id in ids]
        elif source == "api":
            async for page in self._device_pages():
                yield page

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Nothing is swept: what the gateway does not push, lookups ask for."""
        nothing: tuple[Sequence[Looked], ...] = ()
        for page in nothing:
            yield page

    async def package(self, package_id: str) -> FirmwarePackage | None:  # noqa: ARG002 - the shape's
        """Tuya's IoT Core has no call that tells of packages."""
        return None

    async def _ask_firmware(self, device_id: str) -> tuple[FirmwareApi, Reply]:
        """Ask the first API that this project is subscribed to."""
        refusal: CloudError | None = None
        for call in FIRMWARE_APIS:
            if self._subscriptions.leaves_out(call.api):
                continue
            try:
                path = path_of(call.path, device_id=device_id)
                return call, await self._client.ask(Call(api=call.api, path=path))
            except Forbidden as error:
                if error.code not in NOT_SUBSCRIBED:
                    raise
                self._subscriptions.leave_out(error)
                refusal = error
        if refusal is None:
            refusal = Forbidden("none of the firmware APIs is subscribed", api=FIRMWARE_APIS[0].api)
        # Nothing is left to ask: when the circuit lets somebody try again, all are asked again.
        self._subscriptions.forget(call.api for call in FIRMWARE_APIS)
        raise refusal

    async def _progress(self, device_id: str, call: FirmwareApi, item: FirmwareItem) -> int | None:
        """Return the per cent of a channel that is being upgraded. Good to have: the lookup never fails by it."""
        is_active = item.status is not None and PHASES[item.status] == "active"
        if not call.tells_progress or not is_active or self._subscriptions.leaves_out(PROGRESS_API):
            return None

        path = path_of(PROGRESS_PATH, device_id=device_id, channel=item.channel)
        try:
            reply = await self._client.ask(Call(api=PROGRESS_API, path=path))
        except CloudError as error:
            if error.code in NOT_SUBSCRIBED:
                self._subscriptions.leave_out(error)
            log.info(
                "progress_not_told",
                account=self._account.name,
                device_id=device_id,
                error=error.error,
                code=error.code,
            )
            return None
        return progress_of(reply.result)

    def _observation(
        self, device_id: str, api: str, asked_at_ms: int, item: FirmwareItem, progress: int | None
    ) -> Observation:
        """Progress was asked a moment later; it goes with the status, under the time the status was asked for."""
        raw = item.raw if progress is None else {**item.raw, "progress": progress}
        return Observation(
            device_id=device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            channel=item.channel,
            kind="versions" if item.status is None else "status",
            status=item.status,
            vendor_status=item.vendor_status,
            undivided=item.undivided,
            progress=progress,
            current_version=item.current_version,
            target_version=item.target_version,
            vendor_timeout_s=item.timeout_s,
            reason=item.reason,
            asked_at_ms=asked_at_ms,
            observed_at_ms=self.clock.local_ms(),
            evidence=evidence("lookup", api, raw, EVIDENCE_FIELDS),
        )

    async def _device_pages(self) -> AsyncGenerator[Sequence[Discovered], None]:
        last_id = ""
        while True:
            query = {"page_size": str(DEVICES_PAGE)} | ({"last_id": last_id} if last_id else {})
            reply = await self._client.ask(Call(api=DEVICES_API, path=DEVICES_PATH, query=query))
            page, has_more = page_of(reply.result)
            if page:
                yield page
            if not page or not has_more:
                return
            if page[-1].device_id == last_id:
                raise SchemaMismatch("the device list does not move on", api=DEVICES_API)
            last_id = page[-1].device_id
