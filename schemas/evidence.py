"""Where a fact came from: the message or API answer behind an observation, an event or a channel's state."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from schemas.vocabulary import Origin, ReasonCode


class Reason(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why an upgrade did not succeed: our code, the vendor's own code and text where it gave them."""

    code: ReasonCode
    vendor_code: str | None = None
    text: str | None = None


class Position(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A message's place in the gateway: unique within an account, rising within a source partition.

    `partition` is `<channel>/<number>` (`event/3`) or `<channel>` where the topic is not partitioned;
    `batch_index` is -1 for a message that was not batched. Publish times are not monotonic.
    """

    partition: str
    ledger: int
    entry: int
    batch_index: int
    publish_time_at_ms: int


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The origin of a fact. `name`: a push's bizCode, an API's name, or the bridge's own `timer`, `gap`, `replay`."""

    origin: Origin
    name: str
    position: Position | None = None


class ObservedEvidence(Evidence, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Evidence with the vendor's JSON, reduced to an allow-list of fields per message or API.

    `raw` is that JSON object. One over 256 KiB is given as a string, the start of its JSON text, with the full
    text's `raw_bytes` and `raw_sha256` (lower-case hex).
    """

    raw: Any = None
    raw_bytes: int | None = None
    raw_sha256: str | None = None
