"""What a device's places in its operations say, as observations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bridge.clouds.clock import VendorClock
from bridge.clouds.evidence import evidence
from bridge.clouds.oceanconnect.api import OPERATIONS_API, SUB_OPERATIONS_API
from bridge.clouds.oceanconnect.book import Place
from bridge.clouds.oceanconnect.status import UNDIVIDED, reason_of
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import UNTOLD, Looked
from schemas import Observation, Package

EVIDENCE_FIELDS: Final = frozenset(
    {
        "createTime",
        "detailInfo",
        "operateType",
        "operationId",
        "operationStatus",
        "startTime",
        "status",
        "stopTime",
        "subOperationId",
    }
)


class Telling:
    """Writes the observations of one account; `clock` is the vendor's."""

    def __init__(self, account: AnyAccount, clock: VendorClock) -> None:
        self._account = account
        self._clock = clock

    def looked(
        self,
        device_id: str,
        places: Mapping[str, Place | None],
        *,
        origin: str,
        asked_at_ms: int,
        is_whole: bool = True,
        others: tuple[Looked, ...] = (),
    ) -> Looked:
        """Return what is told of a device; a channel without a place has no upgrade: it is at rest."""
        api = SUB_OPERATIONS_API if any(places.values()) else OPERATIONS_API
        observations = tuple(
            self._at_rest(device_id, channel, origin=origin, asked_at_ms=asked_at_ms)
            if place is None
            else self._in_operation(place, origin=origin, asked_at_ms=asked_at_ms)
            for channel, place in places.items()
        )
        return Looked(
            device_id=device_id,
            api=api,
            asked_at_ms=asked_at_ms,
            observations=observations,
            is_whole=is_whole,
            others=others,
        )

    def _in_operation(self, place: Place, *, origin: str, asked_at_ms: int) -> Observation:
        operation, sub = place.operation, place.sub
        status = sub.status_in(operation)
        told = {
            "createTime": sub.created,
            "detailInfo": sub.detail,
            "operateType": operation.channel,
            "operationId": operation.operation_id,
            "operationStatus": operation.status,
            "startTime": sub.started,
            "status": sub.status,
            "stopTime": sub.stopped,
            "subOperationId": sub.sub_operation_id,
        }
        package_id = operation.package_id
        return Observation(
            device_id=sub.device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            channel=operation.channel,
            kind="versions" if status is None else "status",
            status=status,
            vendor_status=sub.status or None,
            undivided=sub.status in UNDIVIDED and status == "installing",
            target_version=operation.version,
            # A device is in an operation once: the operation names the upgrade where the sub-operation has no id.
            task_id=sub.sub_operation_id or operation.operation_id,
            package=None if package_id is None else Package(id=package_id, state=UNTOLD),
            reason=reason_of(status, sub.status, sub.detail),
            asked_at_ms=asked_at_ms,
            observed_at_ms=self._clock.local_ms(),
            evidence=evidence(origin, SUB_OPERATIONS_API, told, EVIDENCE_FIELDS),
        )

    def _at_rest(self, device_id: str, channel: str, *, origin: str, asked_at_ms: int) -> Observation:
        return Observation(
            device_id=device_id,
            cloud=self._account.cloud,
            account=self._account.name,
            channel=channel,
            kind="status",
            status="idle",
            asked_at_ms=asked_at_ms,
            observed_at_ms=self._clock.local_ms(),
            evidence=evidence(origin, OPERATIONS_API, {"operateType": channel}, EVIDENCE_FIELDS),
        )
