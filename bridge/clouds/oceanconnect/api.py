"""OceanConnect's calls about upgrades, page by page (contract: firmware APIs, 5.2). Each changes nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Final
from urllib.parse import quote

from bridge.clouds.client import ApiClient, Call
from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import DeviceNotFound, SchemaMismatch
from bridge.clouds.oceanconnect.answers import Page, package_of, page_of
from bridge.clouds.oceanconnect.dialect import OceanConnectDialect
from bridge.clouds.oceanconnect.settings import OceanConnectApi, OceanConnectCredentials
from bridge.clouds.oceanconnect.token import Login
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import FirmwarePackage, Means

BASE: Final = "/iodm/northbound/v1.5.0"
OPERATIONS_API: Final = "operations"
SUB_OPERATIONS_API: Final = "sub-operations"
PACKAGE_API: Final = "category"
PACKAGES_API: Final = "category-list"

PAGE_SIZE: Final = 100
"""The largest page that the platform gives."""


class OceanConnectCalls:
    """Asks one application's API. Lists are async generators: the next page is asked for when it is wanted."""

    def __init__(
        self,
        account: ApiAccount[OceanConnectCredentials, OceanConnectApi],
        means: Means,
        clock: VendorClock,
    ) -> None:
        login = Login(account.credentials, clock)
        dialect = OceanConnectDialect(account.credentials.app_id, login, clock)
        self._client = ApiClient(account.name, dialect, means, clock, login=login)

    def operations(self, *, device_id: str | None = None) -> AsyncGenerator[Page, None]:
        """List the operations, or those that a device is in. Raises DeviceNotFound where it does not exist."""
        query = {} if device_id is None else {"deviceId": device_id}
        return self._pages(OPERATIONS_API, f"{BASE}/operations", query)

    def sub_operations(self, operation_id: str) -> AsyncGenerator[Page, None]:
        """List what became of the devices of an operation. Raises DeviceNotFound where the operation is gone."""
        return self._pages(SUB_OPERATIONS_API, _sub_operations_path(operation_id), {})

    async def sub_operations_page(self, operation_id: str, page_number: int) -> Page:
        """Return one page of that list."""
        return await self._page(SUB_OPERATIONS_API, _sub_operations_path(operation_id), {}, page_number)

    async def package(self, file_id: str) -> FirmwarePackage:
        """Return a version package; state `missing` where the platform has none of that id."""
        path = f"{BASE}/category/{quote(file_id, safe='')}"
        try:
            reply = await self._client.ask(Call(api=PACKAGE_API, path=path))
        except DeviceNotFound:
            return FirmwarePackage(package_id=file_id, state="missing")
        return package_of(reply.result if isinstance(reply.result, dict) else {}, api=PACKAGE_API)

    async def packages(self, query: Mapping[str, str]) -> AsyncGenerator[list[FirmwarePackage], None]:
        """List version packages by `fileType`, `deviceType`, `model`, `manufacturerName` and `version`."""
        async for page in self._pages(PACKAGES_API, f"{BASE}/category", query):
            yield [package_of(entry, api=PACKAGES_API) for entry in page.entries]

    async def _pages(self, api: str, path: str, query: Mapping[str, str]) -> AsyncGenerator[Page, None]:
        page_number = seen = 0
        before: Page | None = None
        while True:
            page = await self._page(api, path, query, page_number)
            if before is not None and page.entries and page.entries == before.entries:
                raise SchemaMismatch("the list does not move on", api=api)
            yield page
            seen += len(page.entries)
            if not page.entries or (page.total is not None and seen >= page.total):
                return
            before, page_number = page, page_number + 1

    async def _page(self, api: str, path: str, query: Mapping[str, str], page_number: int) -> Page:
        # Both are always sent: an empty pageNo means "no paging" to the platform.
        paged = {**query, "pageNo": str(page_number), "pageSize": str(PAGE_SIZE)}
        reply = await self._client.ask(Call(api=api, path=path, query=paged))
        return page_of(reply.result, api=api, number_asked=page_number, asked_at_ms=reply.asked_at_ms)


def _sub_operations_path(operation_id: str) -> str:
    return f"{BASE}/operations/{quote(operation_id, safe='')}/subOperations"
