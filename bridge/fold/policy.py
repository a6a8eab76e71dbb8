"""The rules' times and numbers: the `[policy]` table, its defaults tried on many thousand simulated upgrades."""

from __future__ import annotations

from msgspec import Struct


class Policy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in seconds. Names follow the rules that use them."""

    clock_margin_s: float = 2.0
    """R2: how well the vendor's clocks agree: an answer asked less than this after a pushed status is stale."""
    api_lag_s: float = 10.0
    """R2, R4: how long the cloud's API may not show yet what was pushed; clocks disagree by as much at most."""
    late_push_hint_s: float = 60.0
    """R2: a push older than the last answer by at most this is a hint."""
    stale_lookup_s: float = 3.5
    """R2: lookup after a stale answer, doubled for each in a row."""
    reopen_after_s: float = 5.0
    """R3, R4: a push this much later than what settled the last attempt (or than a claim) opens the next."""
    repeated_claim_s: float = 60.0
    """R3: a claim equal to the shown outcome within this of it opens nothing."""
    new_attempt_lookup_s: float = 3.5
    """R3: lookup after an attempt opened without both versions."""
    twice_apart_s: float = 60.0
    """R3, R5, R19: two answers count as two when asked at least this far apart."""
    progress_fall_points: int = 20
    """R4: a pushed fall of progress of at least this many points is a retry by the cloud."""
    claim_lookups_s: tuple[float, ...] = (3.5, 10.0, 30.0, 60.0, 180.0, 420.0)
    """R5: lookups after a claim; then one each `claim_lookup_period_s`."""
    claim_lookup_period_s: float = 240.0
    """R5: lookups of a claim after the times of `claim_lookups_s`."""
    success_deadline_s: float = 600.0
    """R5: an unconfirmed claim of success is adopted this long after the first ok answer that followed it."""
    failure_deadline_s: float = 60.0
    """R5: as `success_deadline_s`, for a claim of failure or timeout."""
    claim_deadline_s: float = 1800.0
    """R5: a claim is adopted at the latest after this, also when the API never answered."""
    early_answer_s: float = 60.0
    """R5: in this first time of an attempt (of a claim) the old (a contrary) outcome settles nothing."""
    contrary_lookup_s: float = 5.0
    """R5: lookup after an answer contrary to a young claim."""
    mismatch_apart_s: float = 600.0
    """R5: an answered success that its versions contradict fails when seen again this much later."""
    pending_stall_s: float = 86400.0
    """R8: a pending upgrade that does not begin for this long is stalled."""
    downloading_stall_s: float = 1800.0
    """R8: a download without real progress for this long is stalled."""
    installing_stall_s: float = 1800.0
    """R8: an installation without real progress for this long is stalled."""
    vendor_timeout_margin_s: float = 120.0
    """R8: added to the vendor's own timeout, where it gave one."""
    local_deadline_s: float | None = None
    """R8: only when set does the bridge itself call a stalled device `timed_out`, this long after its last progress."""
    online_lookup_s: float = 2.5
    """R9: lookup after a device with an open attempt came online (often the reboot after flashing)."""
    hint_lookup_s: float = 3.5
    """R9: lookup after a hint."""
    lookup_expiry_s: float = 600.0
    """R14: a lookup without its answer by then is asked again."""
    lookup_backoff_s: float = 30.0
    """R14: pause after a lookup that was refused or got lost, doubled each time."""
    lookup_backoff_max_s: float = 3600.0
    """R14: the longest such pause."""
    open_period_s: float = 3600.0
    """R18: lookups of open attempts, and of unconfirmed outcomes for `unconfirmed_for_s`."""
    unconfirmed_for_s: float = 86400.0
    """R18: how long an unconfirmed outcome is looked up."""
    refresh_period_s: float = 86400.0
    """R18: every known device is asked about once in this time, or as the account's rate allows."""
    gap_recent_s: float = 86400.0
    """R15: after a gap, devices that changed within this time come second, behind the open attempts."""
    removal_apart_s: float = 86400.0
    """R10: two `not_found` this far apart are a removal."""
    tombstone_after_s: float = 86400.0
    """R10: a removed device leaves the state table this long after its removal."""
    jitter_s: float = 1.0
    """Spread of lookups that many devices would ask for at the same moment."""
    progress_step: int = 10
    """`[events] progress_step`: points of progress between two `progressed` events; 0 publishes none."""
    events_include: tuple[str, ...] = ()
    events_exclude: tuple[str, ...] = ()
    """`[events] include` and `exclude`: event types published; nothing included means all. States are never thinned."""
    device_names: bool = False
    """Whether states and events carry the devices' names (`renamed` pushes): personal data in many homes."""
    accounts_without_api: tuple[str, ...] = ()
    """Accounts whose cloud cannot be asked: their claims are adopted at once, unconfirmed (R5). Set by the daemon."""

    def leaves_out(self, event_type: str) -> bool:
        """Whether events of this type are not published."""
        return event_type in self.events_exclude or (
            bool(self.events_include) and event_type not in self.events_include
        )
