"""The `api` table of a lighting account, and what its values must satisfy."""

from __future__ import annotations

from typing import Literal

from bridge.clouds.settings import Report, Values
from bridge.clouds.tuya.settings import TuyaApi

ParameterPlace = Literal["auto", "query", "body"]


class IllumeApi(TuyaApi, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `api` table of such an account: how to reach it, and which of its projects there are."""

    project_ids: tuple[str, ...]
    """Lighting projects whose lists tell which devices there are, what runs, and which versions are on offer."""
    get_params: ParameterPlace = "auto"
    """Where GET calls carry their parameters. `auto` finds it out: by query, and where that is refused, by body."""
    channel: str = "0"
    """The firmware channel that the API's one status of a device is about: the one that the gateway's pushes name."""
    sweep_lists: bool = True
    """Read the projects' lists every `sweep_period_s`; false where the gateway's pushes are enough."""


def check_api(path: str, values: Values, report: Report) -> None:
    """There are projects where devices are found by their lists, and the channel is a number."""
    project_ids = values.get("project_ids")
    if project_ids is not None and any(not project_id.strip() for project_id in project_ids):
        report(f"{path}.project_ids", "has an empty id", "Write the ids as the lighting console shows them")
    if project_ids == () and values.get("discovery") == "api":
        report(
            f"{path}.project_ids",
            "is empty with discovery = 'api'",
            "Name the projects, or set discovery to 'file' or 'off'",
        )
    if not values.get("channel", "0").isdecimal():
        report(f"{path}.channel", "is not a channel's number", "Write it as pushes do, such as '0' or '3'")
