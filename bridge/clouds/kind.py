"""What the program has to know of a cloud before it speaks to it: its tables of the configuration, and who makes it.

Nothing here imports a client, so that reading a configuration stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from msgspec import Struct

from bridge.clouds.settings import ApiAccount, ApiSettings, Check, Credentials, SecretForm
from bridge.clouds.shape import Cloud, Means

CredentialsT = TypeVar("CredentialsT", bound=Credentials)
ApiT = TypeVar("ApiT", bound=ApiSettings)


def nothing_more(_path: str, _values: object, _report: object) -> None:
    """Check nothing beyond what every table is checked for."""


class CloudKind(Struct, Generic[CredentialsT, ApiT], frozen=True, kw_only=True):
    """One cloud, as the registry knows it."""

    title: str
    """How people call it, for the pages about the configuration."""
    credentials: type[CredentialsT]
    """The keys of its `[accounts.<name>]` table."""
    api: type[ApiT]
    """The keys of its `[accounts.<name>.api]` table."""
    open: Callable[[ApiAccount[CredentialsT, ApiT], Means], Cloud]
    """Makes one account's cloud; nothing is sent yet. It imports the client only when it is called."""
    has_gateway: bool = False
    """Whether its accounts may have a Tuya message gateway."""
    rate_window_s: float = 1.0
    """The time over which the cloud counts requests."""
    check_credentials: Check = nothing_more
    check_api: Check = nothing_more
    """What the values must satisfy beyond their types, and beyond what is checked for every cloud."""
    secret_forms: Mapping[str, SecretForm] = {}
    """What secrets among the credentials must look like, by the names of their fields."""
    placeholders: Mapping[str, object] = {}
    """What the example shows for keys without a default: `access_id`, `api.url`; secrets by the name of their file."""
