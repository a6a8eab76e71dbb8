"""Reading OceanConnect's lists: upgrade operations, their sub-operations (one device each), version packages. Pure.

Shapes: contract, firmware APIs, 5.2. Two texts are not in the documents and are used where they come all the same: an
operation's `fileId` and `fileVersion`, in itself or in its free `extendPara`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from msgspec import Struct

from bridge.clouds.errors import SchemaMismatch
from bridge.clouds.oceanconnect.status import DETAIL_CHARACTERS, FINAL, device_status, word_of
from bridge.clouds.shape import FirmwarePackage
from bridge.clouds.values import number, text
from schemas import Status

log = structlog.get_logger(__name__)

CHANNELS: Final = ("firmware", "software")

PACKAGE_FIELDS: Final = frozenset(
    {
        "fileId",
        "name",
        "version",
        "fileType",
        "deviceType",
        "model",
        "manufacturerName",
        "protocolType",
        "description",
        "date",
        "uploadTime",
    }
)
_TIME_FORMAT: Final = "%Y%m%dT%H%M%SZ"


class Page(Struct, frozen=True, kw_only=True):
    """One page of a list. `number` counts from 0."""

    number: int
    entries: Sequence[dict[str, Any]]
    total: int | None
    asked_at_ms: int


class Operation(Struct, frozen=True, kw_only=True, gc=False):
    """An upgrade of many devices in one channel, as the operation list tells it."""

    operation_id: str
    channel: str
    created_at_ms: int
    status: str
    counts: tuple[tuple[str, int], ...] = ()
    """`staResult`: how many devices there are by the word of their status."""
    package_id: str | None = None
    version: str | None = None

    @property
    def order(self) -> tuple[int, str]:
        """The later of two is the newer one."""
        return self.created_at_ms, self.operation_id

    @property
    def is_final(self) -> bool:
        """Whether it is over."""
        return self.status in FINAL

    @property
    def mark(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """What changes when anything changes in it."""
        return self.status, self.counts


class SubOperation(Struct, frozen=True, kw_only=True, gc=False):
    """One device in an operation."""

    device_id: str
    sub_operation_id: str | None
    status: str
    created: str = ""
    started: str = ""
    stopped: str = ""
    detail: str | None = None

    def status_in(self, operation: Operation) -> Status | None:
        """The device's status in our words; None for a word that has none."""
        return device_status(self.status, operation=operation.status)


def page_of(result: Any, *, api: str, number_asked: int, asked_at_ms: int) -> Page:
    """Read a page of any of the lists. Raises SchemaMismatch where it holds none."""
    entries = result.get("data") if isinstance(result, dict) else None
    if not isinstance(entries, list):
        raise SchemaMismatch("data is not a list", api=api)
    return Page(
        number=number_asked,
        entries=[entry for entry in entries if isinstance(entry, dict)],
        total=number(result.get("totalCount")),
        asked_at_ms=asked_at_ms,
    )


def operations_of(page: Page, *, api: str) -> list[Operation]:
    """Read the upgrades on a page of the operation list; operations of other kinds are left out."""
    return [operation for entry in page.entries if (operation := _operation(entry, api)) is not None]


def sub_operations_of(page: Page, *, api: str) -> dict[str, SubOperation]:
    """Read the devices on a page, by id; of two entries for one device the later one counts."""
    found: dict[str, SubOperation] = {}
    for entry in page.entries:
        device_id = text(entry.get("deviceId"))
        if device_id is None:
            log.warning("sub_operation_unreadable", api=api, remedy="report this answer's field names")
            continue
        sub = SubOperation(
            device_id=device_id,
            sub_operation_id=text(entry.get("subOperationId")),
            status=word_of(entry.get("status", entry.get("Status")))[:64],
            created=text(entry.get("createTime")) or "",
            started=text(entry.get("startTime")) or "",
            stopped=text(entry.get("stopTime")) or "",
            detail=(text(entry.get("detailInfo")) or "")[:DETAIL_CHARACTERS] or None,
        )
        before = found.get(device_id)
        if before is None or before.created <= sub.created:
            found[device_id] = sub
    return found


def package_of(entry: Mapping[str, Any], *, api: str) -> FirmwarePackage:
    """Read a version package. The platform has no states of packages: one that it tells of can be used."""
    package_id = text(entry.get("fileId"))
    if package_id is None:
        raise SchemaMismatch("no fileId in the answer", api=api)
    return FirmwarePackage(
        package_id=package_id,
        state="usable",
        version=text(entry.get("version")),
        name=text(entry.get("name")),
        channel=_channel(entry.get("fileType")),
        told={
            field: value
            for field, value in entry.items()
            if field in PACKAGE_FIELDS and isinstance(value, str | int)
        },
    )


def _operation(entry: Mapping[str, Any], api: str) -> Operation | None:
    operation_id, channel = text(entry.get("operationId")), _channel(entry.get("operateType"))
    if operation_id is None:
        log.warning("operation_unreadable", api=api, remedy="report this answer's field names")
        return None
    if channel is None:
        return None

    counts = entry.get("staResult")
    further = entry.get("extendPara")
    extended = further if isinstance(further, dict) else {}
    return Operation(
        operation_id=operation_id,
        channel=channel,
        created_at_ms=_time_ms(entry.get("createTime")),
        status=word_of(entry.get("status", entry.get("Status"))),
        counts=tuple(
            sorted((word, value) for word, told in counts.items() if (value := number(told)) is not None)
        )
        if isinstance(counts, dict)
        else (),
        package_id=text(entry.get("fileId")) or text(extended.get("fileId")),
        version=text(entry.get("fileVersion")) or text(extended.get("fileVersion")),
    )


def _channel(value: Any) -> str | None:
    """`firmware_upgrade`, `firmwareUpgrade`, `firmwarePackage` are the firmware's; any other word is nobody's."""
    word = word_of(value)
    return next((channel for channel in CHANNELS if word.startswith(channel)), None)


def _time_ms(value: Any) -> int:
    """A time that cannot be read is older than any other."""
    try:
        return round(
            datetime.strptime(text(value) or "", _TIME_FORMAT).replace(tzinfo=UTC).timestamp() * 1000
        )
    except ValueError:
        return 0
