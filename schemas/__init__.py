"""The records on the bridge's Kafka topics: frozen msgspec structs, one module per record. JSON values, UTF-8.

Within a major version fields are only added, with defaults; nothing is renamed or retyped.
"""

from schemas.dead_letter import DeadLetter
from schemas.evidence import Evidence, ObservedEvidence, Position, Reason
from schemas.ingest_progress import IngestProgress
from schemas.lookup_request import LookupRequest
from schemas.observation import Observation
from schemas.upgrade_event import UpgradeEvent
from schemas.upgrade_state import Attempt, Channel, DeviceLabel, Package, UpgradeState
from schemas.vocabulary import PHASES, RAW_LIMIT_BYTES, STATUSES, PackageState, Phase, Status

__all__ = [
    "PHASES",
    "RAW_LIMIT_BYTES",
    "STATUSES",
    "Attempt",
    "Channel",
    "DeadLetter",
    "DeviceLabel",
    "Evidence",
    "IngestProgress",
    "LookupRequest",
    "Observation",
    "ObservedEvidence",
    "Package",
    "PackageState",
    "Phase",
    "Position",
    "Reason",
    "Status",
    "UpgradeEvent",
    "UpgradeState",
]
