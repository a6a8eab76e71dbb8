"""Which cloud speaks which API: the one table that a new cloud is added to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from bridge.clouds.errors import Misconfigured
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Cloud, Pace
from bridge.clouds.transport import Transport
from bridge.clouds.tuya_cloud import TuyaCloud


class CloudFactory(Protocol):
    """Makes one account's cloud. `now_ms` is the local wall clock."""

    def __call__(
        self, account: ApiAccount, transport: Transport, pace: Pace, now_ms: Callable[[], int]
    ) -> Cloud:
        """Return the cloud; nothing is sent yet."""
        ...


CLOUDS: Final[Mapping[str, CloudFactory]] = {"tuya-cloud": TuyaCloud}


def open_cloud(account: ApiAccount, transport: Transport, pace: Pace, now_ms: Callable[[], int]) -> Cloud:
    """Return the cloud of an account. Raises Misconfigured for one that is not known."""
    factory = CLOUDS.get(account.cloud)
    if factory is None:
        raise Misconfigured(
            f"account {account.name!r} names cloud {account.cloud!r}; known are {', '.join(sorted(CLOUDS))}",
            api="configuration",
        )
    return factory(account, transport, pace, now_ms)
