"""The lighting API's `upgrade_status` as data (contract: firmware APIs, 7.2). Its page lists 0 to 5; Tuya's own apps

know 6, 7 and 13 as well. A value without a status of ours never raises: it is passed on as `vendor_status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from schemas import Status

STATUSES: Final[Mapping[int, Status]] = {
    0: "idle",
    1: "available",
    2: "installing",
    3: "succeeded",
    4: "failed",
    5: "pending",
    6: "downloading",
    7: "timed_out",
    13: "pending",
}
