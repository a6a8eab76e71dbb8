"""What an owner does for its account unasked: listing its devices, and sweeping; at the start, then periodically.

Background gives way: to urgent lookups but for a quarter of the rate, and to a queue that is long already, because
every device it finds will be looked up too.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from bridge.clouds.errors import CloudError
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud
from bridge.reconcile.asking import Asking
from bridge.reconcile.backoff import doubled
from bridge.reconcile.circuit import Circuit
from bridge.reconcile.discovery import Discovery
from bridge.reconcile.limits import NotOwner
from bridge.reconcile.queue import LookupQueue
from bridge.reconcile.records import listing_ended
from bridge.reconcile.sweep import Sweep
from consumer.sink import Sink
from schemas import LookupRequest

log = structlog.get_logger(__name__)

POLL_S: Final = 0.25
"""How often background looks whether its turn has come."""

SHARE: Final = 1 / 4
"""Of the account's requests, which background gets even while urgent lookups wait."""

BACKLOG_S: Final = 60.0
"""It waits while the queue holds more than this many seconds' work."""

RETRY_FIRST_S: Final = 60.0
RETRY_MOST_S: Final = 3600.0
"""After one that ended early; never longer than its period."""

LISTING_WAITS_S: Final = 60.0
"""Who wants a listing waits as long for a circuit to open again; where it takes longer, that is the answer."""

LISTINGS_MOST: Final = 16
"""Of those who want a listing at the same time, so many of the latest are answered."""


class Background:
    """The periodic work of one account. `may_run` says whether this process may ask the cloud now, `answers` how many
    requests of the account were answered: a page may come from a file, or from memory.

    `circuit_changed` is called when what was asked here changed the circuit: somebody has to tell of it.
    """

    def __init__(
        self,
        account: AnyAccount,
        cloud: Cloud,
        circuit: Circuit,
        queue: LookupQueue,
        *,
        asking: Asking,
        sink: Sink,
        may_run: Callable[[], bool],
        answers: Callable[[], int],
        circuit_changed: Callable[[], None],
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._may_list_try = not cloud.has_sweep
        """Where nothing else asks, a listing finds out that a cloud takes the account again."""
        self.discovery = Discovery(
            account,
            cloud,
            sink,
            now_ms=now_ms,
            give_way=functools.partial(self._page_read, "discovery", may_try=self._may_list_try),
        )
        self.sweep = Sweep(
            account,
            cloud,
            asking,
            now_ms=now_ms,
            give_way=functools.partial(self._page_read, "sweep", may_try=True),
        )
        self._account = account
        self._cloud = cloud
        self._circuit = circuit
        self._queue = queue
        self._sink = sink
        self._may_run = may_run
        self._answers = answers
        self._circuit_changed = circuit_changed
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._admissions: dict[str, tuple[int, int]] = {}
        """By work: the circuit's number when the request under way was admitted, and the answers until then."""
        self._listings: dict[str, None] = {}
        """Lookup ids of those who want all devices listed; answered at a listing's end."""
        self._wants_listing = asyncio.Event()

    def list_for(self, request: LookupRequest) -> None:
        """List the devices now, and answer this lookup when it is done; one that runs already will do."""
        self._listings[request.lookup_id] = None
        while len(self._listings) > LISTINGS_MOST:
            del self._listings[next(iter(self._listings))]
        self._wants_listing.set()

    def forget(self) -> None:
        """Another process speaks for the account: who wants a listing asks that one."""
        self._listings.clear()
        self._wants_listing.clear()
        self.discovery.forget()
        self.sweep.forget()

    async def run(self) -> None:
        """Work until cancelled."""
        api = self._account.api
        async with asyncio.TaskGroup() as tasks:
            if api.discovery != "off":
                tasks.create_task(
                    self._repeat(
                        "discovery",
                        self._list,
                        lambda: api.discovery_period_s,
                        hurried=self._wants_listing,
                        may_try=self._may_list_try,
                    )
                )
            if self._cloud.has_sweep:
                tasks.create_task(
                    self._repeat("sweep", self.sweep.read, lambda: self.sweep.period_s, may_try=True)
                )

    async def _repeat(
        self,
        name: str,
        work: Callable[[], Awaitable[None]],
        period_s: Callable[[], float],
        *,
        hurried: asyncio.Event | None = None,
        may_try: bool = False,
    ) -> None:
        """Do `work` at the start and every `period_s`, counted from its beginning.

        Sooner after a failure, and at once when it is `hurried`. What `may_try` always asks the cloud: its answer
        closes a half open circuit. Whether it answers goes to the circuit, and changes nothing of these times.
        """
        failures = 0
        while True:
            await self._admitted(may_try=may_try)
            began = self._monotonic()
            self._note_admission(name)
            try:
                await work()
                self._note_answer(name)
                failures = 0
                wait_s = period_s()
            except NotOwner:
                # Whoever owns the account now begins anew; so do we, should it come back.
                wait_s = 0.0
            except CloudError as error:
                # What was answered on the way, such as the token, is not what the reading needs.
                self._circuit.not_read(self._admissions[name][0], error, self._monotonic())
                self._circuit_changed()
                wait_s = min(period_s(), doubled(RETRY_FIRST_S, RETRY_MOST_S, failures))
                failures += 1
                log.warning(
                    "background_failed",
                    account=self._account.name,
                    work=name,
                    api=error.api,
                    error=error.error,
                    code=error.code,
                    text=error.text,
                    trace_id=error.trace_id,
                    again_in_s=wait_s,
                    remedy=error.remedy,
                )
            await self._pause(max(POLL_S, began + wait_s - self._monotonic()), hurried)

    async def _list(self) -> None:
        """List the devices, and answer whoever wanted it; a failure is an answer too."""
        self._wants_listing.clear()
        try:
            await self.discovery.read()
        except CloudError as error:
            await self._answer_listings(error)
            raise
        await self._answer_listings(None)

    async def _answer_listings(self, error: CloudError | None) -> None:
        wanted, self._listings = self._listings, {}
        self._wants_listing.clear()
        now_ms = self._now_ms()
        asked_at_ms = self._cloud.clock.at_ms(now_ms)
        if wanted:
            await self._sink.write(
                [
                    listing_ended(
                        self._account, lookup_id, error, asked_at_ms=asked_at_ms, observed_at_ms=now_ms
                    )
                    for lookup_id in wanted
                ]
            )

    @staticmethod
    async def _pause(pause_s: float, hurried: asyncio.Event | None) -> None:
        if hurried is None:
            await asyncio.sleep(pause_s)
            return
        try:
            async with asyncio.timeout(pause_s):
                await hurried.wait()
        except TimeoutError:
            return

    async def _admitted(self, *, may_try: bool) -> None:
        # Two clocks and the proof of membership change without an event.
        while not (self._may_run() and self._is_admitted(may_try=may_try)):
            await self._refuse_listings()
            await asyncio.sleep(POLL_S)

    async def _refuse_listings(self) -> None:
        """Nobody waits in silence for an account that is not asked for long."""
        now, error = self._monotonic(), self._circuit.error
        if not self._listings or error is None or not self._may_run():
            return
        if self._circuit.state(now) in ("open", "stopped"):
            opens_again_at = self._circuit.opens_again_at()
            if opens_again_at is None or opens_again_at - now > LISTING_WAITS_S:
                await self._answer_listings(error.not_asked())

    def _note_admission(self, name: str) -> None:
        self._admissions[name] = self._circuit.admit(), self._answers()

    def _note_answer(self, name: str) -> None:
        """Tell the circuit that the cloud answers, if it answered anything since."""
        epoch, answers = self._admissions[name]
        if self._answers() > answers:
            self._circuit.read(epoch)
            self._circuit_changed()

    async def _page_read(self, name: str, *, may_try: bool) -> None:
        """Return when the next page may be asked for."""
        self._note_answer(name)
        await self._give_way(may_try=may_try)
        self._note_admission(name)

    async def _give_way(self, *, may_try: bool) -> None:
        """Return when the next request of the background may be sent."""
        rate_per_s = self._account.api.rate_per_s
        turn_at = self._monotonic() + 1 / (rate_per_s * SHARE)
        backlog = max(1.0, rate_per_s * BACKLOG_S)
        while len(self._queue) > backlog or (  # noqa: ASYNC110 (what it waits for also changes with time alone)
            self._queue.has_urgent() and self._monotonic() < turn_at
        ):
            await asyncio.sleep(POLL_S)
        await self._admitted(may_try=may_try)

    def _is_admitted(self, *, may_try: bool) -> bool:
        now = self._monotonic()
        if len(self._queue) == 0:
            return self._circuit.admits_sweep(now) if may_try else self._circuit.admits_listing(now)
        return self._circuit.state(now) == "closed"
