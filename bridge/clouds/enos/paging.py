"""Walking through one of EnOS's lists, page by page from 1; and when it ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec

from bridge.clouds.client import Call, Reply
from bridge.clouds.enos.answers import Page, page_of
from bridge.clouds.errors import SchemaMismatch

Ask = Callable[[Call], Awaitable[Reply]]


class Turned(msgspec.Struct, frozen=True, kw_only=True):
    """One page that was asked for."""

    number: int
    page: Page
    asked_at_ms: int
    is_last: bool


def list_call(
    api: str, path: str, action: str, org_id: str, *, expression: str | None, number: int, size: int
) -> Call:
    """Return the question for one page of a list."""
    body: dict[str, Any] = {} if expression is None else {"expression": expression}
    body["pagination"] = {"pageNo": number, "pageSize": size}
    return Call(
        api=api,
        method="POST",
        path=path,
        query={"action": action, "orgId": org_id},
        body=msgspec.json.encode(body),
    )


async def turn(ask: Ask, call: Call, *, number: int, size: int) -> Turned:
    """Ask for one page. It is the last where it is empty, or fills what the list has in all."""
    reply = await ask(call)
    page = page_of(reply.result, api=call.api)
    is_last = not page.entries or (
        number * size >= page.total if page.total is not None else len(page.entries) < size
    )
    return Turned(number=number, page=page, asked_at_ms=reply.asked_at_ms, is_last=is_last)


async def walk(turn_to: Callable[[int], Awaitable[Turned]], *, api: str) -> AsyncGenerator[Turned, None]:
    """Give every page. Raises SchemaMismatch where a list gives the same page again and again."""
    number, before = 1, None
    while True:
        turned = await turn_to(number)
        first = turned.page.entries[0] if turned.page.entries else None
        if first is not None and first == before:
            raise SchemaMismatch("the list does not move on", api=api)
        yield turned
        if turned.is_last:
            return
        number, before = number + 1, first
