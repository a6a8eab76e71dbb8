"""Tuya's commercial lighting over the fleet: a device's detail, the three lists, the two calls that change something.

Those two are checked, answered and noted; nothing starts by them, since campaigns decide what happens to the fleet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from deploy.sandbox.cloud.fleet import Device, Fleet
from deploy.sandbox.cloud.illume import answers
from deploy.sandbox.cloud.illume.account import IllumeAccount
from deploy.sandbox.cloud.illume.parameters import Parameters, parameters_of
from deploy.sandbox.cloud.rest import Api, Call, Surroundings, Told
from deploy.sandbox.cloud.rest_faults import Refused
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.tuya.numbers import RUNNING, number_of
from deploy.sandbox.cloud.tuya.rest import TOKEN_APIS, TuyaRest
from deploy.sandbox.cloud.view import View

_TOTAL_AS_TEXT_SHARE = 0.1

Entry = Callable[[Device, View, Fleet], dict[str, object] | None]

_LIST_PARAMETERS = (
    "page",
    "page_size",
    "project_id",
    "device_status",
    "device_types",
    "top_categories",
    "room_id",
    "device_name",
    "online",
    "upgrade_status",
)


class Accepted(Struct, frozen=True):
    """The answer of a call that changes something, whose time the vendor's page shows in seconds.

    `result` is left out where it is None.
    """

    result: bool | None


class Wanted(Struct, frozen=True, kw_only=True):
    """Which devices of a list are asked for."""

    project_id: str
    room_id: str | None
    name: str | None
    online: bool | None
    device_status: frozenset[object] | None
    device_types: frozenset[object] | None
    top_categories: frozenset[object] | None

    def has(self, device: Device, account: IllumeAccount) -> bool:
        """Whether a device is one of them."""
        return (
            device.listed
            and account.project_of(device) == self.project_id
            and (self.room_id is None or account.room_of(device) == self.room_id)
            and (self.name is None or self.name in device.name)
            and (self.online is None or device.online == self.online)
            and _is_one_of("Online" if device.online else "Offline", self.device_status)
            and _is_one_of(0, self.device_types)
            and _is_one_of("zm", self.top_categories)
        )


class IllumeRest(TuyaRest):
    """Serves every lighting account. `upgrades` and `synced` are what was asked for, in its order."""

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        super().__init__(tenants, surroundings)
        self.upgrades: list[tuple[str, ...]] = []
        self.synced: list[str] = []

    def success(self, told: Told, now_s: float) -> object:
        """As every Tuya API, but for the calls that change something."""
        if not isinstance(told.result, Accepted):
            return super().success(told, now_s)
        result = {} if told.result.result is None else {"result": told.result.result}
        return {"success": True, "t": int(now_s), **result}

    async def detail(self, call: Call) -> Told:
        """`GET …/device/ota/open/detail`."""
        asked = self._parameters(call).only("device_id")
        device = self.device_of(call, asked.text("device_id"))
        view = self.view(call, device)
        running = number_of(view(device.channels[0])) in RUNNING
        return Told(answers.detail(_account(call), device, view), (device,) if running else ())

    async def offered(self, call: Call) -> Told:
        """`GET …/ota/open/tobeupgraded`."""
        return self._list(call, answers.offered)

    async def being_updated(self, call: Call) -> Told:
        """`GET …/ota/open/upgrading`."""
        return self._list(call, answers.being_updated)

    async def recorded(self, call: Call) -> Told:
        """`GET …/ota/open/upgrade/record`."""
        return self._list(call, answers.recorded)

    async def upgrade(self, call: Call) -> Told:
        """`POST …/ota/open/upgrade`: accepted with `result: false`, as in the vendor's sample."""
        asked = parameters_of(call.asked, "body").only("project_id", "device_ids")
        project_id = self._project(call, asked)
        devices = [self.device_of(call, device_id) for device_id in asked.texts("device_ids")]
        if any(_account(call).project_of(device) != project_id for device in devices):
            raise Refused(1106, "permission deny")
        self.upgrades.append(tuple(device.device_id for device in devices))
        return Told(Accepted(result=False))

    async def sync(self, call: Call) -> Told:
        """`GET …/ota/tobeupgraded/roomid`: a GET that changes something, without a result."""
        asked = self._parameters(call).only("project_id", "room_id")
        project_id, room_id = self._project(call, asked), asked.text("room_id")
        account = _account(call)
        if not any(
            account.room_of(device) == room_id and account.project_of(device) == project_id
            for device in call.tenant.fleet
        ):
            raise Refused(1109, "param is illegal: room_id")
        self.synced.append(room_id)
        return Told(Accepted(result=None))

    def _list(self, call: Call, entry_of: Entry) -> Told:
        """A page of one list. It names devices; that an upgrade runs is told by the detail."""
        asked = self._parameters(call).only(*_LIST_PARAMETERS)
        number, size = asked.page()
        wanted = Wanted(
            project_id=self._project(call, asked),
            room_id=asked.optional_text("room_id"),
            name=asked.optional_text("device_name"),
            online=asked.online(),
            device_status=asked.choices("device_status"),
            device_types=asked.choices("device_types"),
            top_categories=asked.choices("top_categories"),
        )
        numbers = asked.choices("upgrade_status")
        fleet, account = call.tenant.fleet, _account(call)
        entries = [
            entry
            for device in fleet
            if wanted.has(device, account)
            and (entry := entry_of(device, self.view(call, device), fleet)) is not None
            and _is_one_of(int(str(entry["upgrade_status"])), numbers)
        ]
        return Told(answers.page(entries, number, size, as_text=self.rng.random() < _TOTAL_AS_TEXT_SHARE))

    @staticmethod
    def _parameters(call: Call) -> Parameters:
        return parameters_of(call.asked, _account(call).takes)

    @staticmethod
    def _project(call: Call, asked: Parameters) -> str:
        project_id = asked.text("project_id")
        if project_id not in _account(call).project_ids:
            raise Refused(1106, "permission deny")
        return project_id

    apis = (
        *TOKEN_APIS,
        Api("detail", "GET", re.compile(r"/v1\.0/cloud/illume/devices/device/ota/open/detail"), detail),
        Api("upgrade", "POST", re.compile(r"/v1\.0/cloud/illume/devices/ota/open/upgrade"), upgrade),
        Api(
            "to_be_upgraded", "GET", re.compile(r"/v1\.0/cloud/illume/devices/ota/open/tobeupgraded"), offered
        ),
        Api("upgrading", "GET", re.compile(r"/v1\.0/cloud/illume/devices/ota/open/upgrading"), being_updated),
        Api(
            "upgrade_record",
            "GET",
            re.compile(r"/v1\.0/cloud/illume/devices/ota/open/upgrade/record"),
            recorded,
        ),
        Api("space_sync", "GET", re.compile(r"/v1\.0/cloud/illume/devices/ota/tobeupgraded/roomid"), sync),
    )


def _account(call: Call) -> IllumeAccount:
    account = call.tenant.account
    assert isinstance(account, IllumeAccount)  # noqa: S101 - the registry gives each cloud its own
    return account


def _is_one_of(value: object, choices: frozenset[object] | None) -> bool:
    return choices is None or value in choices
