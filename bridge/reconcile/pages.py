"""A cloud's pages as they come, whatever it answers: what nobody foresaw costs one reading, never the stage."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

import structlog

from bridge.clouds.errors import CloudError, SchemaMismatch
from bridge.reconcile.limits import NotOwner

log = structlog.get_logger(__name__)

Page = TypeVar("Page")


async def pages_of(
    pages: AsyncGenerator[Page, None], *, account: str, work: str
) -> AsyncGenerator[Page, None]:
    """Yield the pages of a reading. Raises CloudError, also for a defect of ours in reading them, and NotOwner."""
    try:
        async with aclosing(pages) as closing:
            async for page in closing:
                yield page
    except (CloudError, NotOwner):
        raise
    except Exception as error:
        log.exception("reading_broke", account=account, work=work)
        raise SchemaMismatch(
            f"the answer could not be read: {type(error).__name__}; please report it", api=work
        ) from error
