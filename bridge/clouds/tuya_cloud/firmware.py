"""Reading Tuya's firmware answers: one item per channel, in whichever of their documented shapes. Pure.

Field names differ by API generation (`version` or `upgrade_version`; `type`, `channel` or `module_type`), and the
result is a list, one object, or an object that holds a list (contract: firmware APIs, 2.2 and 2.3).
"""

from __future__ import annotations

from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.tuya.status import PROGRESS, REASONS, UNDIVIDED, information_status
from bridge.clouds.values import number, text
from schemas import PHASES, Reason, Status

log = structlog.get_logger(__name__)

EVIDENCE_FIELDS: Final = frozenset(
    {
        "can_upgrade",
        "channel",
        "control_type",
        "current_version",
        "desc",
        "dev_type",
        "file_size",
        "firmware_deploy_time",
        "last_upgrade_time",
        "module_desc",
        "module_type",
        "progress",
        "remind",
        "timeout",
        "type",
        "type_desc",
        "upgrade_desc",
        "upgrade_status",
        "upgrade_type",
        "upgrade_version",
        "version",
    }
)
"""Kept as evidence. Never `url`, `md5` and `sign`: they lead to the package."""

MAIN_CHANNEL: Final = 0

PER_CENT: Final = 100


class FirmwareItem(Struct, frozen=True, kw_only=True):
    """One firmware channel, as an information answer tells it."""

    channel: str
    status: Status | None
    vendor_status: str | None
    undivided: bool
    current_version: str | None
    target_version: str | None
    timeout_s: int | None
    reason: Reason | None
    raw: dict[str, Any]


def firmware_items(result: Any, *, api: str) -> list[FirmwareItem]:
    """Return the channels in an information answer. Raises SchemaMismatch where it is neither list nor object."""
    entries = result
    if entries is None:
        return []
    if isinstance(entries, dict):
        entries = entries["list"] if isinstance(entries.get("list"), list) else [entries]
    if not isinstance(entries, list):
        raise SchemaMismatch(f"result is a {type(result).__name__}, neither list nor object", api=api)

    items: dict[str, FirmwareItem] = {}
    for entry in entries:
        item = _item(entry) if isinstance(entry, dict) and entry else None
        if item is None:
            log.warning("firmware_item_unreadable", api=api, remedy="report this answer's field names")
        elif item.channel in items:
            log.warning("firmware_channel_repeated", api=api, channel=item.channel)
        else:
            items[item.channel] = item
    return list(items.values())


def progress_of(result: Any) -> int | None:
    """Return the per cent of a progress answer whose own status is still an active one, None otherwise."""
    if not isinstance(result, dict):
        return None

    value = number(result.get("upgrade_status"))
    status = None if value is None else PROGRESS.get(value)
    if status is None or PHASES[status] != "active":
        return None

    progress = number(result.get("progress"))
    return progress if progress is not None and 0 <= progress <= PER_CENT else None


def _item(entry: dict[str, Any]) -> FirmwareItem | None:
    channel = _channel(entry)
    if channel is None:
        return None

    current = text(entry.get("current_version"))
    target = text(entry.get("version")) or text(entry.get("upgrade_version"))
    told = entry.get("upgrade_status")
    value = number(told)
    status = information_status(value, current=current, target=target)
    timeout_s = number(entry.get("timeout"))
    return FirmwareItem(
        channel=channel,
        status=status,
        vendor_status=str(value) if value is not None else (text(told) or "")[:64] or None,
        undivided=value in UNDIVIDED,
        current_version=current,
        target_version=target,
        timeout_s=timeout_s if timeout_s is not None and timeout_s > 0 else None,
        reason=None if value is None or status is None else REASONS.get(value),
        raw=entry,
    )


def _channel(entry: dict[str, Any]) -> str | None:
    for name in ("type", "channel", "module_type"):
        value = entry.get(name)
        if value is not None and value != "":
            channel = number(value)
            return None if channel is None else str(channel)
    return str(MAIN_CHANNEL)
