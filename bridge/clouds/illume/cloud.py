"""Tuya's commercial lighting: how a device's upgrade goes, and which devices a project's lists name.

A lookup asks for the device's detail, which has its status and its running version, and where a version is on offer or
being installed, for the one entry of a list that names it. A sweep reads the lists and looks up the devices whose
entries changed: by themselves entries tell too little, and some are history.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final

import structlog

from bridge.clouds.client import Reply
from bridge.clouds.clock import VendorClock
from bridge.clouds.device_file import device_ids
from bridge.clouds.errors import CloudError, DeviceRefused, Forbidden, Misunderstood, SchemaMismatch
from bridge.clouds.evidence import evidence
from bridge.clouds.illume.detail import DETAIL_API, DETAIL_PATH, EVIDENCE_FIELDS, Detail, detail_of
from bridge.clouds.illume.listed import Listed
from bridge.clouds.illume.lists import (
    LISTS,
    OFFERED,
    PAGE_SIZE,
    UPGRADING,
    DeviceList,
    ListPage,
    is_last,
    page_of,
    pages_at_most,
)
from bridge.clouds.illume.parameters import Parameters, Value
from bridge.clouds.illume.settings import IllumeApi
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Discovered, FirmwarePackage, Looked, Means
from bridge.clouds.tuya.dialect import tuya_client
from bridge.clouds.tuya.errors import NOT_SUBSCRIBED
from bridge.clouds.tuya.settings import TuyaCredentials
from bridge.clouds.tuya.subscriptions import Subscriptions
from schemas import PHASES, Observation, Phase, Status

log = structlog.get_logger(__name__)

NAMED_IN: Final[Mapping[Phase, tuple[DeviceList, ...]]] = {
    "pending": (UPGRADING, OFFERED),
    "active": (UPGRADING,),
}
"""Which lists may have the device's entry; the vendor does not say in which one a device waits for its update."""


class IllumeCloud:
    """See `Cloud`. Knows of no packages; has one status for a whole device."""

    def __init__(self, account: ApiAccount[TuyaCredentials, IllumeApi], means: Means) -> None:
        self.clock = VendorClock(means.now_ms)
        self.has_sweep = account.api.sweep_lists and bool(account.api.project_ids)
        self._account = account
        self._client = tuya_client(account, means, self.clock)
        self._parameters = Parameters(account.name, account.api.get_params)
        self._listed = Listed()
        self._subscriptions = Subscriptions(
            account.name, self.clock, meanwhile="what only that list tells is missing"
        )

    async def lookup(self, device_id: str) -> Looked:
        """Ask for the detail, and for the version that is on offer or being installed."""
        return await self._look(device_id, origin="lookup")

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        """List the devices that the projects' lists name, or those of the file that stands in for them."""
        source = self._account.api.discovery
        if source == "file":
            async for ids in device_ids(self._account.api.discovery_file or ""):
                yield [Discovered(device_id=device_id) for device_id in ids]
        elif source == "api":
            async for _, page in self._all_pages():
                yield [Discovered(device_id=item.device_id) for item in page.items]

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        """Read the lists, and look up each device whose entry is news, or is gone from those being upgraded."""
        self._listed.begin()
        looked_up: set[str] = set()
        async for device_list, page in self._all_pages():
            yield ()
            for item in page.items:
                if self._listed.is_news(device_list, item) and item.device_id not in looked_up:
                    looked_up.add(item.device_id)
                    if (looked := await self._look_if_known(item.device_id)) is None:
                        # News to the next sweep as well: what is wrong may be more than this device.
                        continue
                    yield looked
                self._listed.note(device_list, item)
        for device_id in self._listed.gone():
            if device_id not in looked_up:
                yield await self._look_if_known(device_id) or ()
        self._listed.end()

    async def package(self, package_id: str) -> FirmwarePackage | None:  # noqa: ARG002 - the shape's
        """The lighting API has no call that tells of packages."""
        return None

    async def _look(self, device_id: str, *, origin: str) -> Looked:
        reply = await self._ask(DETAIL_API, DETAIL_PATH, {"device_id": device_id})
        detail = detail_of(reply.result, device_id)
        version = await self._version_named(device_id, detail)
        told, raw = detail.told, detail.raw if version is None else {**detail.raw, "version": version}
        observation = Observation(
            device_id=device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            product_id=detail.product_id,
            channel=self._account.api.channel,
            kind="versions" if told.status is None else "status",
            status=told.status,
            vendor_status=told.vendor_status,
            undivided=told.undivided,
            current_version=detail.current_version,
            target_version=version,
            reason=told.reason,
            asked_at_ms=reply.asked_at_ms,
            observed_at_ms=self.clock.local_ms(),
            evidence=evidence(origin, DETAIL_API, raw, EVIDENCE_FIELDS),
        )
        return Looked(
            device_id=device_id,
            api=DETAIL_API,
            asked_at_ms=reply.asked_at_ms,
            observations=(observation,),
        )

    async def _look_if_known(self, device_id: str) -> tuple[Looked, ...] | None:
        """Look a listed device up; one about which the cloud has no answer is left to the lookups.

        None where the answer is not to be understood: a sweep that ended there would end there each time.
        """
        try:
            return (await self._look(device_id, origin="sweep"),)
        except (DeviceRefused, Misunderstood) as error:
            if error.api != DETAIL_API:
                # Not about this device: the token's answer was not understood.
                raise
            log.info(
                "listed_device_not_told",
                account=self._account.name,
                device_id=device_id,
                error=error.error,
                code=error.code,
            )
            return () if isinstance(error, DeviceRefused) else None

    async def _version_named(self, device_id: str, detail: Detail) -> str | None:
        """Return the version of the device's entry in a list that agrees with its status.

        It is searched by room and name: there is no filter for a device. Good to have: the lookup never fails by it.
        """
        where: dict[str, Value] = {}
        if detail.room_id is not None:
            where["room_id"] = detail.room_id
        if detail.name is not None:
            where["device_name"] = detail.name
        if not where:
            return None

        try:
            for device_list in _lists_of(detail.told.status):
                for project_id in self._account.api.project_ids:
                    if self._subscriptions.leaves_out(device_list.api):
                        break
                    page = await self._page(device_list, project_id, 1, where)
                    for item in page.items:
                        if item.device_id == device_id and item.told.status == detail.told.status:
                            return item.version
        except CloudError as error:
            if error.code in NOT_SUBSCRIBED:
                self._subscriptions.leave_out(error)
            log.info(
                "version_not_told",
                account=self._account.name,
                device_id=device_id,
                api=error.api,
                error=error.error,
                code=error.code,
            )
        return None

    async def _all_pages(self) -> AsyncGenerator[tuple[DeviceList, ListPage], None]:
        """Read all lists of all projects that the account is subscribed to. Raises Forbidden where it is to none."""
        refusal: CloudError | None = None
        has_read = False
        for device_list in LISTS:
            if self._subscriptions.leaves_out(device_list.api):
                continue
            try:
                for project_id in self._account.api.project_ids:
                    async for page in self._pages(device_list, project_id):
                        has_read = True
                        yield device_list, page
            except Forbidden as error:
                if error.code not in NOT_SUBSCRIBED:
                    raise
                self._subscriptions.leave_out(error)
                refusal = error
        if not has_read and self._account.api.project_ids:
            self._subscriptions.forget(device_list.api for device_list in LISTS)
            raise refusal or Forbidden("none of the lists is subscribed", api=LISTS[0].api)

    async def _pages(self, device_list: DeviceList, project_id: str) -> AsyncGenerator[ListPage, None]:
        number_of_page, most, before = 1, None, None
        while True:
            page = await self._page(device_list, project_id, number_of_page, {})
            most = pages_at_most(page) if number_of_page == 1 else most
            ids = {item.device_id for item in page.items}
            if ids and ids == before:
                raise SchemaMismatch("the list does not move on", api=device_list.api)
            yield page
            if is_last(page, number_of_page) or number_of_page == most:
                return
            number_of_page, before = number_of_page + 1, ids

    async def _page(
        self, device_list: DeviceList, project_id: str, number_of_page: int, where: Mapping[str, Value]
    ) -> ListPage:
        values: dict[str, Value] = {"project_id": project_id, "page": number_of_page, "page_size": PAGE_SIZE}
        reply = await self._ask(device_list.api, device_list.path, {**values, **where})
        return page_of(reply.result, device_list)

    async def _ask(self, api: str, path: str, values: Mapping[str, Value]) -> Reply:
        return await self._parameters.send(self._client.ask, api=api, path=path, values=values)


def _lists_of(status: Status | None) -> tuple[DeviceList, ...]:
    if status == "available":
        return (OFFERED,)
    return () if status is None else NAMED_IN.get(PHASES[status], ())
