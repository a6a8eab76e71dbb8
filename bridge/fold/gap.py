"""R15 at work: a gap in one partition, folded into every device of its account, a slice per transaction.

First the devices are ranked, a stretch at a time, because each has to be decoded for it; then they are folded, the
most urgent first. The gap's own offset is committed with the last slice: a worker that dies before begins anew, and
the devices that were folded already remember the offset and are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, Literal

from bridge.fold.lookups import GAP_RANKS, gap_rank
from bridge.fold.policy import Policy
from bridge.fold.store import Store
from schemas import Observation, ObservedEvidence, UpgradeState

SLICE_DEVICES: Final = 1000
"""Per transaction, as for observations; folding them takes some 50 ms, in which nothing else of the process runs."""

LostInput = Literal["expired", "recreated"]
"""What a take-over found: observations that were dropped unread, or a topic that was made anew."""


class OpenGap:
    """A gap that is not folded into every device yet. `lost_input`: found by a take-over, for every account."""

    def __init__(
        self,
        *,
        offset: int,
        observation: Observation | None = None,
        lost_input: LostInput | None = None,
        at_ms: int,
    ) -> None:
        self.offset = offset
        """Of the gap's record; that of the last record lost where there is none."""
        self.at_ms = at_ms
        self.lost_input = lost_input
        self._observation = observation
        self._accounts: dict[str, Observation] = {}
        self._unranked: Iterator[str] | None = None
        self._ranked: tuple[list[str], ...] = tuple([] for _ in range(GAP_RANKS))
        self._left: Iterator[str] | None = None

    def rank(self, store: Store, policy: Policy) -> bool:
        """Rank the next stretch of the store's devices; return whether all are ranked."""
        if self._left is not None:
            return True
        if self._unranked is None:
            self._unranked = iter(store.device_ids())
        stretch = list(islice(self._unranked, SLICE_DEVICES))
        for device_id in stretch:
            rank = self._rank(device_id, store, policy)
            if rank is not None:
                self._ranked[rank].append(device_id)
        if len(stretch) == SLICE_DEVICES:
            return False
        self._left = chain.from_iterable(self._ranked)
        return True

    def take(self) -> tuple[list[str], bool]:
        """Return the next slice of ranked devices, and whether it is the last one."""
        if self._left is None:
            raise AssertionError("a gap's devices are ranked before they are taken")
        devices = list(islice(self._left, SLICE_DEVICES))
        return devices, len(devices) < SLICE_DEVICES

    def _rank(self, device_id: str, store: Store, policy: Policy) -> int | None:
        try:
            device = store.get(device_id)
        except Exception:  # noqa: BLE001 (a state that cannot be read: folding it will fail, and tell)
            return GAP_RANKS - 1
        if device is None or (
            self._observation is not None and device.state.account != self._observation.account
        ):
            return None
        return gap_rank(device.state, self.at_ms, policy)

    def observation(self, state: UpgradeState) -> Observation:
        """Return the gap as an input of this device."""
        if self._observation is not None:
            return self._observation
        known = self._accounts.get(state.account)
        if known is None:
            known = self._accounts[state.account] = Observation(
                device_id="",
                cloud=state.cloud,
                account=state.account,
                kind="gap",
                observed_at_ms=self.at_ms,
                evidence=ObservedEvidence(origin="bridge", name=f"observations_{self.lost_input}"),
            )
        return known
