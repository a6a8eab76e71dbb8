"""LookupRequest: the fold asks the owner of an account to ask the cloud about one device. A hint, not an obligation."""

from __future__ import annotations

from msgspec import Struct

from schemas.vocabulary import LookupCause


class LookupRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Every lookup that is served ends in one observation of kind `answer` with its `lookup_id`.

    One that was not answered by `expires_at_ms` is asked again by the fold. With an empty `device_id` it asks for the
    list of the account's devices: those not announced yet become hints, before the answer.
    """

    lookup_id: str
    device_id: str
    account: str
    cause: LookupCause
    channel: str | None = None
    task_id: str | None = None
    due_at_ms: int
    expires_at_ms: int
