"""The names in Hedwig's answers, which come in one spelling or another: the tables have `FirmwareID`, the samples

`firmwareId`, and Alibaba's originals `FirmwareId` (contract: firmware APIs, 4.3). Here they get the samples' spelling.
"""

from __future__ import annotations

from typing import Any, Final

_NAMES: Final = (
    *("success", "code", "errorMessage", "message", "requestId"),
    *("data", "firmwareInfo", "currentPage", "pageCount", "pageSize", "total"),
    *("firmwareId", "firmwareName", "firmwareDesc", "firmwareSign", "firmwareSize", "firmwareUrl"),
    *("destVersion", "srcVersion", "moduleName", "moduleVersion", "productKey", "productName"),
    *("signMethod", "status", "type", "udi", "utcCreate", "utcModified", "verifyProgress"),
    *("jobId", "jobStatus", "jobType", "jobDesc", "targetSelection"),
    *("taskId", "taskStatus", "taskDesc", "progress", "timeout", "deviceName", "iotId"),
)
_SPELLING: Final = {name.lower(): name for name in _NAMES}


def named(value: Any) -> Any:
    """Return a JSON value whose objects have the samples' names; others are in lower case. The first of two counts."""
    if isinstance(value, dict):
        renamed: dict[str, Any] = {}
        for name, inner in value.items():
            renamed.setdefault(_SPELLING.get(name.lower(), name.lower()), named(inner))
        return renamed
    if isinstance(value, list):
        return [named(inner) for inner in value]
    return value
