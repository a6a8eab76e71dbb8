"""IngestProgress: how far a source partition of the gateway was read, and when it was last known to be caught up."""

from __future__ import annotations

from msgspec import Struct

from schemas.evidence import Position


class IngestProgress(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Keyed by `<account>/<source partition>`, compacted.

    `alive_at_ms` is the last time the source partition was connected and caught up: where it lies further back than
    the gateway keeps messages, messages were lost. `position` and `publish_time_at_ms` are those of the last message
    acknowledged, absent where there was none yet.
    """

    account: str
    source_partition: str
    position: Position | None = None
    publish_time_at_ms: int | None = None
    alive_at_ms: int
