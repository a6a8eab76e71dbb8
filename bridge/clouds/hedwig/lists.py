"""Reading Hedwig's lists page by page: one way for all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from msgspec import Struct

from bridge.clouds.client import ApiClient, Call
from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.hedwig.answers import Page, page_of


class ListApi(Struct, frozen=True, kw_only=True):
    """One call that answers with a list."""

    action: str
    field: str = "data"
    page_size: int
    """The most that a page may hold."""


FIRMWARES: Final = ListApi(action="ListOTAFirmware", field="firmwareInfo", page_size=100)
JOBS: Final = ListApi(action="ListOTAJobByFirmware", page_size=200)
TASKS: Final = ListApi(action="ListOTATaskByJob", page_size=100)
MODULES: Final = ListApi(action="ListOTAModuleVersionsByDevice", page_size=200)


class Listed(Struct, frozen=True):
    """A page's entries, and the vendor's clock when it was asked for."""

    entries: list[dict[str, Any]]
    asked_at_ms: int


async def pages(
    client: ApiClient, api: ListApi, parameters: Mapping[str, str]
) -> AsyncGenerator[Listed, None]:
    """Yield the pages that have something, up to the count or the total that is told, else to a short one.

    Raises CloudError; SchemaMismatch where two pages in a row are the same.
    """
    number = 1
    before: list[dict[str, Any]] | None = None
    while True:
        query = {**parameters, "CurrentPage": str(number), "PageSize": str(api.page_size)}
        reply = await client.ask(Call(api=api.action, query=query))
        page = page_of(reply.result, api.field, api=api.action)
        if not page.entries:
            return
        if page.entries == before:
            raise SchemaMismatch("the list does not move on", api=api.action)
        yield Listed(page.entries, reply.asked_at_ms)
        if _is_last(page, number, api.page_size):
            return
        before = page.entries
        number += 1


def _is_last(page: Page, number: int, asked_size: int) -> bool:
    size = page.page_size if page.page_size is not None and page.page_size > 0 else asked_size
    if page.page_count is not None:
        return number >= page.page_count
    if page.total is not None:
        return number * size >= page.total
    return len(page.entries) < size
