"""One configured account: while this process owns it, its waiting lookups are asked one after another and answered.

Nothing here waits for another account. The path of a lookup, numbered the same in code:

1. **Queue** it by its cause; a device that waits already is asked once for all who wait.
2. **Admit**: nothing is asked while the circuit is open; what cannot wait for it is answered `unavailable`, slowly.
3. **Pace**: which lookup is the most urgent is decided only when a request may be sent.
4. **Ask** the cloud, until the lookup expires; **write** what was learned, then an `answer` for each lookup id.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final

import structlog

from bridge.clouds.errors import AccountStopped
from bridge.clouds.registry import ClosedCloud, kind_of
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, Pace
from bridge.reconcile.asking import Asking
from bridge.reconcile.background import Background
from bridge.reconcile.circuit import Cause, Circuit, CircuitState
from bridge.reconcile.limits import TRAVEL_MOST_S, NotOwner, RequestPace
from bridge.reconcile.queue import LookupQueue, Waiting
from bridge.reconcile.statistics import AccountStatistics
from consumer.sink import Sink
from schemas import LookupRequest

log = structlog.get_logger(__name__)

QUEUE_LIMIT: Final = 50_000
"""Devices waiting for one account, some 500 bytes each. At the default rate only the first 2,400 are asked before they
expire; an account with twenty times that rate still has use for all."""

IN_FLIGHT_MOST: Final = 64
"""Lookups of one account at the same time, and at most a second's worth: more would only wait for their turn."""

REFUSALS_PER_S: Final = 5.0
"""Lookups answered `unavailable` without asking. Slow, because each such answer may make the fold ask again."""

PROOF_POLL_S: Final = 0.2
"""How often an owner without fresh proof looks whether it has it again."""

DRAIN_S: Final = 5.0
"""How long lookups under way may take when the process stops."""


class AccountLookups:
    """The API side of one account. `proven` says whether the process can prove that it still owns what it owned."""

    def __init__(
        self,
        account: AnyAccount,
        open_cloud: Callable[[AnyAccount, Pace], Cloud],
        sink: Sink,
        *,
        proven: Callable[[], bool],
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.name = account.name
        self._account = account
        self._proven = proven
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._queue = LookupQueue(QUEUE_LIMIT)
        self._circuit = Circuit(account.api.circuit_open_s)
        self._told: tuple[CircuitState, Cause | None] = ("closed", None)
        self._pace = RequestPace(
            account.api.rate_per_s,
            counted_over_s=kind_of(account.cloud).rate_window_s,
            may_send=self._may_send,
            may_again=lambda: not self._is_lost,
            monotonic=monotonic,
            jitter=jitter,
        )
        self._most_in_flight = min(IN_FLIGHT_MOST, max(2, math.ceil(account.api.rate_per_s)))
        self._is_owned = False
        self._is_lost = False
        self._changed = asyncio.Event()
        self._serving: set[asyncio.Task[None]] = set()
        try:
            self._cloud = open_cloud(account, self._pace)
        except AccountStopped as error:
            self._cloud = ClosedCloud(error, now_ms)
            self._circuit.failed(self._circuit.admit(), error, "", monotonic())
            self._tell_circuit()
        self._asking = Asking(
            account, self._cloud, self._circuit, self._queue, sink, now_ms=now_ms, monotonic=monotonic
        )
        self._background = Background(
            account,
            self._cloud,
            self._circuit,
            self._queue,
            asking=self._asking,
            sink=sink,
            may_run=self._may_send,
            answers=lambda: self._pace.answered,
            circuit_changed=self._changed.set,
            now_ms=now_ms,
            monotonic=monotonic,
        )

    def accept(self, request: LookupRequest) -> None:
        """Step 1. Never waits: a full queue gives up what is least urgent. Without a device it wants all listed."""
        if not request.device_id:
            self._background.list_for(request)
            return
        self._queue.put(request)
        self._changed.set()

    def own(self) -> None:
        """Speak for the account from now on; the process before may have sent something a moment ago."""
        self._pace.pause(self._pace.window_s + TRAVEL_MOST_S)
        self._is_owned, self._is_lost = True, False
        self._changed.set()

    def suspend(self) -> None:
        """The group is deciding anew who owns what: send nothing until it has."""
        self._is_owned = False

    def lose(self) -> None:
        """Another process speaks for the account: the lookups waiting here expire, and the fold asks that one."""
        self._is_owned, self._is_lost = False, True
        self._queue.clear()
        self._background.forget()

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; lookups under way end within `DRAIN_S`, or are cut off."""
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._dispatch(tasks)), tasks.create_task(self._background.run())]
            await stop.wait()
            for task in working:
                task.cancel()
            if self._serving:
                await asyncio.wait(self._serving, timeout=DRAIN_S)
            for task in self._serving:
                task.cancel()

    def statistics(self) -> AccountStatistics:
        """Return a look at the account's API side."""
        now = self._monotonic()
        state = self._circuit.state(now)
        opens_again_at = self._circuit.opens_again_at()
        return AccountStatistics(
            account=self.name,
            cloud=self._account.cloud,
            url=self._account.api.url,
            owned=self._is_owned,
            circuit=state,
            cause=self._circuit.cause,
            opens_again_in_s=None if opens_again_at is None else max(0.0, opens_again_at - now),
            clock_offset_ms=self._cloud.clock.offset_ms,
            in_flight=len(self._serving),
            answers=dict(self._asking.answers),
            errors=dict(self._asking.errors),
            queue=self._queue.statistics(),
            pace=self._pace.statistics(),
            discovery=self._background.discovery.statistics(),
            sweep=self._background.sweep.statistics() if self._cloud.has_sweep else None,
            packages=self._asking.packages.statistics(),
            answered_by_others=self._asking.answered_by_others,
        )

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            self._tell_circuit()
            state = self._circuit.state(self._monotonic())
            first = self._queue.first(self._now_ms())
            if first is None or not self._is_owned:
                await self._change(None)
            elif not self._proven():
                await self._change(PROOF_POLL_S)
            # 2. Admit
            elif state in ("open", "stopped"):
                await self._wait_or_refuse(first, state)
            elif len(self._serving) >= (1 if state == "half_open" else self._most_in_flight):
                await self._change(None)
            else:
                # 3. Pace
                await self._pace.start()
                if self._may_send() and self._circuit.state(self._monotonic()) == state:
                    waiting = self._queue.take(self._now_ms())
                    if waiting is not None:
                        task = tasks.create_task(self._serve(waiting))
                        self._serving.add(task)
                        task.add_done_callback(self._served)
                        # The task asks for its turn before the next lookup may start.
                        await asyncio.sleep(0)

    async def _wait_or_refuse(self, first: Waiting, state: CircuitState) -> None:
        """A lookup that lives to see an open circuit close waits; any other is answered now."""
        opens_again_at = self._circuit.opens_again_at()
        if state == "open" and opens_again_at is not None:
            left_s = max(0.0, opens_again_at - self._monotonic())
            if first.expires_at_ms > self._now_ms() + left_s * 1000:
                await self._change(left_s)
                return

        waiting, error = self._queue.take(self._now_ms()), self._circuit.error
        if waiting is not None and error is not None:
            await self._asking.refuse(waiting, error.not_asked())
            await asyncio.sleep(1 / REFUSALS_PER_S)

    async def _serve(self, waiting: Waiting) -> None:
        # 4. Ask and write
        try:
            await self._asking.serve(waiting)
        except NotOwner:
            if not self._is_lost:
                self._queue.put_back(waiting)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._changed.set()

    async def _change(self, timeout_s: float | None) -> None:
        """Wait until something changed, at most for `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _may_send(self) -> bool:
        return self._is_owned and self._proven()

    def _tell_circuit(self) -> None:
        """Log what happened to the circuit, once: what, where, and what to do about it."""
        now_told = (self._circuit.state(self._monotonic()), self._circuit.cause)
        if now_told == self._told:
            return

        self._told = state, cause = now_told
        if state == "closed":
            log.info("api_answers_again", account=self.name, url=self._account.api.url)
        elif cause is not None and state in ("open", "stopped"):
            tell = log.error if state == "stopped" else log.warning
            tell(
                "api_stopped" if state == "stopped" else "api_paused",
                account=self.name,
                url=self._account.api.url,
                api=cause.api,
                error=cause.error,
                code=cause.code,
                text=cause.text,
                trace_id=cause.trace_id,
                remedy=cause.remedy,
            )
