"""Tuya's IoT Core over the fleet: device list, firmware, progress, and the older upgrade-infos."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.rest import Api, Call, Surroundings, Told
from deploy.sandbox.cloud.rest_faults import Refused
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.tuya.door import query_parameters
from deploy.sandbox.cloud.tuya.numbers import RUNNING, number_of
from deploy.sandbox.cloud.tuya.rest import TOKEN_APIS, TuyaRest
from deploy.sandbox.cloud.tuya_cloud import answers

_MOST_PER_PAGE = 20


class TuyaCloudRest(TuyaRest):
    """Serves every account of Tuya's IoT Core. `confirmed` is what was confirmed: device and channel, in its order."""

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self.confirmed: list[tuple[str, str]] = []

    async def devices(self, call: Call) -> Told:
        """`GET /v2.0/cloud/thing/device`: pages of at most 20, each after the last id of the one before."""
        parameters = query_parameters(call.asked.query)
        size = parameters.get("page_size", "")
        if not size:
            raise Refused(1100, "param is empty: page_size")
        if not size.isdecimal() or not 1 <= int(size) <= _MOST_PER_PAGE:
            raise Refused(1101, f"params range invalid: page_size is 1 to {_MOST_PER_PAGE}")
        page = call.tenant.fleet.page(parameters.get("last_id"), int(size))
        if page is None:
            raise Refused(1109, "param is illegal: last_id")
        return Told([answers.listed_device(device) for device in page])

    async def firmware(self, call: Call) -> Told:
        """`GET /v2.0/cloud/thing/{device_id}/firmware`."""
        device = self.device_of(call, call.groups[0])
        return self._told_of(device, answers.firmware(device, self.view(call, device)), call)

    async def progress(self, call: Call) -> Told:
        """`GET /v2.0/cloud/thing/{device_id}/firmware/{channel}/progress`."""
        device = self.device_of(call, call.groups[0])
        for channel in device.channels:
            if channel.name == call.groups[1]:
                return self._told_of(device, answers.progress(channel, self.view(call, device)), call)
        raise Refused(1109, "param is illegal: channel")

    async def upgrade_infos(self, call: Call) -> Told:
        """`GET /v1.0/iot-03/devices/{device_id}/upgrade-infos`, and without `iot-03`."""
        device = self.device_of(call, call.groups[0])
        return self._told_of(device, answers.upgrade_infos(device, self.view(call, device)), call)

    async def confirm(self, call: Call) -> Told:
        """`POST /v2.0/cloud/thing/{device_id}/firmware/{channel}`, without a body: checked, answered, noted.

        Nothing starts by it, since campaigns decide what happens to the fleet.
        """
        device = self.device_of(call, call.groups[0])
        if call.asked.body or all(channel.name != call.groups[1] for channel in device.channels):
            raise Refused(1109, "param is illegal: channel")
        self.confirmed.append((device.device_id, call.groups[1]))
        return Told(result=True)

    def _told_of(self, device: Device, result: object, call: Call) -> Told:
        view = self.view(call, device)
        running = any(number_of(view(channel)) in RUNNING for channel in device.channels)
        return Told(result, (device,) if running else ())

    apis = (
        *TOKEN_APIS,
        Api("devices", "GET", re.compile(r"/v2\.0/cloud/thing/device"), devices),
        Api("firmware", "GET", re.compile(r"/v2\.0/cloud/thing/([^/]+)/firmware"), firmware),
        Api("firmware_confirm", "POST", re.compile(r"/v2\.0/cloud/thing/([^/]+)/firmware/([^/]+)"), confirm),
        Api(
            "firmware_progress",
            "GET",
            re.compile(r"/v2\.0/cloud/thing/([^/]+)/firmware/([^/]+)/progress"),
            progress,
        ),
        Api(
            "upgrade_infos",
            "GET",
            re.compile(r"/v1\.0/(?:iot-03/)?devices/([^/]+)/upgrade-infos"),
            upgrade_infos,
        ),
    )
