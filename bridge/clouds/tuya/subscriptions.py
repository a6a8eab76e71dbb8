"""Which APIs a cloud project is not subscribed to: they are left out for a day, and then tried again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import structlog

from bridge.clouds.clock import VendorClock
from bridge.clouds.errors import CloudError

log = structlog.get_logger(__name__)

SUBSCRIPTION_MS: Final = 24 * 3600 * 1000
"""How long an API is left out: somebody may subscribe meanwhile."""


class Subscriptions:
    """Of one account. `meanwhile` ends the remedy: what is done, or missing, until somebody subscribes."""

    def __init__(self, account: str, clock: VendorClock, *, meanwhile: str) -> None:
        self._account = account
        self._clock = clock
        self._meanwhile = meanwhile
        self._left_out_until_ms: dict[str, int] = {}

    def leaves_out(self, api: str) -> bool:
        """Whether an API is not to be asked now."""
        return self._clock.local_ms() < self._left_out_until_ms.get(api, 0)

    def leave_out(self, refusal: CloudError) -> None:
        """The API that refused is not subscribed: say so, and leave it out."""
        self._left_out_until_ms[refusal.api] = self._clock.local_ms() + SUBSCRIPTION_MS
        log.warning(
            "api_not_subscribed",
            account=self._account,
            api=refusal.api,
            code=refusal.code,
            text=refusal.text,
            remedy=f"subscribe the cloud project to this API; until then {self._meanwhile}",
        )

    def forget(self, apis: Iterable[str]) -> None:
        """Ask these again."""
        for api in apis:
            self._left_out_until_ms.pop(api, None)
