"""Step 1, receive: the one thread of an account that touches Pulsar; nothing else of ours calls the client.

It subscribes, receives batches, cuts them into slices, hands those to the event loop and sends the acknowledgements
that come back. `await receive()` would lose messages when cancelled, and the client blocks; hence a thread.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

import _pulsar
import structlog

from consumer.entries import receive_rest
from consumer.pulsar_client import (
    CLIENT_CLOSE_S,
    OPERATION_TIMEOUT_S,
    BatchLimits,
    NotSubscribed,
    close,
    open_client,
    subscribe,
)
from consumer.questions import Questions
from consumer.quiet import Presence, Quiet
from consumer.settings import GatewayAccount
from consumer.slices import Slice, Slicer
from consumer.source import source_partition, topic_names
from consumer.statistics import Counters
from consumer.unconfirmed import Unconfirmed

log = structlog.get_logger(__name__)

IDLE_WAIT_MS: Final = 50
"""How long an idle thread sleeps in the client; acknowledgements wait no longer than this."""
ENTRY_REST_S: Final = 0.5
"""At a stop: the rest of an entry lies in the client's queue, unless the connection was lost just then."""
_CONNECTION_CHECK_S: Final = 0.5
WORTH_A_WRITE: Final = 250
"""In a backlog few messages of a batch may lead to records: so many are delivered together, of at most `HELD_MOST`
batches. Under lighter load nothing waits for company."""
HELD_MOST: Final = 3
_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 5.0


class GatewayThread:
    """An account's connection. `deliver`, `caught_up` and `partitions_known` are called on the event loop, in order.

    Everything public may be called on the event loop and never blocks it.
    """

    def __init__(
        self,
        account: GatewayAccount,
        slicer: Slicer,
        counters: Counters,
        *,
        deliver: Callable[[list[Slice]], None],
        caught_up: Callable[[int, Sequence[str]], None],
        partitions_known: Callable[[Sequence[str]], None],
    ) -> None:
        self._account = account
        self._slicer = slicer
        self._counters = counters
        self._deliver = deliver
        self._caught_up = caught_up
        self._partitions_known = partitions_known
        self._loop = asyncio.get_running_loop()
        self._client = open_client(account)
        self._questions = Questions()
        self._thread = threading.Thread(target=self._run, name=f"gateway-{account.name}", daemon=True)
        # Under the condition's lock: what both sides write.
        self._changed = threading.Condition()
        self._to_acknowledge: list[Slice] = []
        self._unconfirmed = Unconfirmed(account.gateway)
        self._receiving = True
        self._closing = False
        self._close_by = math.inf
        self._renew = False
        self._stepped_aside = False
        self._told: set[str] = set()
        """What the client said since it was subscribed: it tries every few seconds, and says the same."""
        self._held: list[list[Slice]] = []
        """Batches that are received, and not delivered yet."""
        # Written by the thread, read by the event loop.
        self._connected = False
        self._drained = asyncio.Event()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the thread has closed everything; with an exception if it died of a defect."""

    def is_connected(self) -> bool:
        """Whether it is subscribed, and every source partition connected."""
        return self._connected

    def has_stepped_aside(self) -> bool:
        """Whether it left its source partitions to other copies, because nothing received is confirmed any more."""
        return self._stepped_aside

    @property
    def unconfirmed(self) -> tuple[int, int]:
        """Messages and bytes that were delivered and not released yet."""
        return self._unconfirmed.messages, self._unconfirmed.size_bytes

    def is_paused(self) -> bool:
        """Whether as much is unconfirmed as the settings allow."""
        return self._unconfirmed.is_full

    def start(self) -> None:
        """Begin to subscribe."""
        self._thread.start()

    def acknowledge(self, done: Slice) -> None:
        """Acknowledge the entries that end in this slice. Those of a source partition come in order."""
        with self._changed:
            self._to_acknowledge.append(done)
            self._unconfirmed.release(done, time.monotonic())
            self._changed.notify()

    def resubscribe(self) -> None:
        """Close the subscription and open it anew; what was delivered and not acknowledged comes again."""
        with self._changed:
            self._renew = True
            self._changed.notify()

    async def stop_receiving(self) -> None:
        """Return once nothing more will be delivered; acknowledgements are still sent.

        What was begun of an entry is received to its end first.
        """
        with self._changed:
            self._receiving = False
            self._changed.notify()
        await self._drained.wait()

    async def close(self, *, within_s: float) -> None:
        """Send the last acknowledgements, close the subscription and the client, and end the thread.

        A gateway that does not answer within this time is left; what it does not know acknowledged comes again.
        """
        with self._changed:
            self._receiving = False
            self._closing = True
            self._close_by = time.monotonic() + within_s
            self._changed.notify()
        try:
            async with asyncio.timeout(within_s + CLIENT_CLOSE_S):
                await asyncio.shield(self.ended)
        except TimeoutError:
            log.warning(
                "gateway_abandoned", account=self._account.name, reason="a call of the client does not return"
            )

    def _run(self) -> None:
        try:
            retry_s = _FIRST_RETRY_S
            while self._receiving:
                if self._stepped_aside and self._unconfirmed.messages:
                    self._sleep(_CONNECTION_CHECK_S)
                    continue
                self._stepped_aside = False
                consumer = self._subscribe()
                if consumer is None:
                    self._sleep(retry_s)
                    retry_s = min(2 * retry_s, _LAST_RETRY_S)
                    continue
                retry_s = _FIRST_RETRY_S
                self._serve(consumer)
                self._sleep(retry_s)
            self._call(self._drained.set)
        except BaseException as error:  # noqa: BLE001 (a thread must not die in silence: the account raises it)
            failure: BaseException | None = error
        else:
            failure = None
        close_by = time.monotonic() + CLIENT_CLOSE_S
        self._told_unless_closed(self._client, "client", by=lambda: close_by)
        self._call(self._end, failure)

    def _told_unless_closed(
        self, opened: _pulsar.Consumer | _pulsar.Client, what: str, *, by: Callable[[], float]
    ) -> None:
        problem = close(opened, by=by)
        if problem is not None:
            log.warning("gateway_not_closed", account=self._account.name, what=what, error=problem)

    def _subscribe(self) -> _pulsar.Consumer | None:
        account = self._account
        topics = topic_names(account)
        try:
            consumer = subscribe(self._client, account, topics, wanted=lambda: self._receiving)
            if consumer is None:
                return None
            known = [
                source_partition(name)
                for topic in topics
                for name in self._client.get_topic_partitions(topic)
            ]
        except (NotSubscribed, _pulsar.PulsarException) as error:
            if str(error) not in self._told:
                self._told.add(str(error))
                log.info("gateway_not_subscribed", account=account.name, error=str(error))
            return None
        self._told.clear()
        self._counters.subscriptions += 1
        self._call(self._partitions_known, known)
        return consumer

    def _serve(self, consumer: _pulsar.Consumer) -> None:
        """Receive and acknowledge until the subscription has to be renewed or closed."""
        try:
            try:
                self._receive(consumer)
            finally:
                self._deliver_held()
            if not self._receiving and not self._closing:
                self._finish_entries(consumer)
            while not self._receiving and not self._closing:
                self._call(self._drained.set)
                self._send_acknowledgements(consumer)
                with self._changed:
                    if not self._to_acknowledge and not self._closing:
                        self._changed.wait(_CONNECTION_CHECK_S)
            self._send_acknowledgements(consumer)
        except _pulsar.PulsarException as error:
            log.warning("gateway_subscription_lost", account=self._account.name, error=str(error))
        finally:
            self._connected = False
            # Also sends the acknowledgements that the client has grouped and not sent yet.
            latest = time.monotonic() + OPERATION_TIMEOUT_S
            self._told_unless_closed(
                consumer, "subscription", by=lambda: min(self._close_by - CLIENT_CLOSE_S, latest)
            )

    def _receive(self, consumer: _pulsar.Consumer) -> None:
        now = time.monotonic()
        limits = BatchLimits.of(self._account.gateway)
        quiet = Quiet(now)
        presence = Presence(now, time.time())
        next_check = 0.0
        entries = self._slicer.entries
        entries.renew()
        with self._changed:
            self._renew = False
        while self._receiving and not self._renew:
            self._send_acknowledgements(consumer)
            if now >= next_check:
                next_check = now + _CONNECTION_CHECK_S
                self._connected = consumer.is_connected()
                if not self._connected:
                    quiet.interrupt(now)
                if self._is_stuck(now):
                    self._stepped_aside = True
                    return
            if self.is_paused():
                self._deliver_held()
                with self._changed:
                    if self.is_paused() and not self._to_acknowledge:
                        self._changed.wait(IDLE_WAIT_MS / 1000)
                now = time.monotonic()
                quiet.pause(now)
                if self._was_away(presence, now):
                    return
                continue
            if self._questions.is_to_ask(
                now, are_missing=bool(entries.broken_off()), breaks=entries.breaks, let_go=entries.let_go
            ):
                consumer.redeliver_unacknowledged_messages()
                entries.asked()
            batch = self._next_batch(consumer, idle=quiet.silent_s(now) > IDLE_WAIT_MS / 1000)
            now = time.monotonic()
            is_full = limits.is_full(batch)
            quiet.receive(len(batch), now, is_full=is_full)
            if batch:
                self._take(batch)
            if not is_full or self._is_worth_a_write():
                self._deliver_held()
            if self._was_away(presence, now):
                return
            if not batch and quiet.silent_s(now) > self._account.gateway.silence_timeout_s:
                log.warning("gateway_silent", account=self._account.name, silent_s=round(quiet.silent_s(now)))
                return
            if quiet.is_caught_up(now):
                self._call(self._caught_up, time.time_ns() // 1_000_000, entries.broken_off())

    def _was_away(self, presence: Presence, now: float) -> bool:
        """Tell whether the process was frozen. What the client says of its connection is from before then."""
        away_s = presence.absence_s(now, time.time())
        if away_s:
            log.warning("gateway_was_away", account=self._account.name, away_s=round(away_s))
        return away_s > 0

    def _finish_entries(self, consumer: _pulsar.Consumer) -> None:
        """Receive what is missing of the entries that were begun, so that all of them can be acknowledged."""
        begun = self._slicer.entries.begun()
        rest = receive_rest(consumer, begun, by=time.monotonic() + ENTRY_REST_S)
        if rest:
            self._take(rest)
            self._deliver_held()
        if begun:
            log.info(
                "gateway_entries_unfinished", account=self._account.name, source_partitions=sorted(begun)
            )

    def _take(self, batch: Sequence[_pulsar.Message]) -> None:
        now = time.monotonic()
        slices = self._slicer.cut(batch, time.time_ns() // 1_000_000)
        with self._changed:
            for piece in slices:
                self._unconfirmed.add(piece, now)
        self._held.append(slices)

    def _is_worth_a_write(self) -> bool:
        return (
            len(self._held) >= HELD_MOST
            or sum(len(piece.records) for slices in self._held for piece in slices) >= WORTH_A_WRITE
        )

    def _deliver_held(self) -> None:
        if self._held:
            slices = [piece for slices in self._held for piece in slices]
            self._held = []
            self._call(self._deliver, slices)

    def _is_stuck(self, now: float) -> bool:
        with self._changed:
            if not self._unconfirmed.is_stuck(now):
                return False
        log.warning(
            "gateway_stepped_aside",
            account=self._account.name,
            reason="Kafka does not confirm here: other copies may take over; back as soon as it does",
        )
        return True

    def _next_batch(self, consumer: _pulsar.Consumer, *, idle: bool) -> list[_pulsar.Message]:
        """Return what is there. An idle thread first waits for one message: it wakes rarely, yet loses no time."""
        if not idle:
            return consumer.batch_receive()
        try:
            first = consumer.receive(IDLE_WAIT_MS)
        except _pulsar.Timeout:
            return []
        return [first, *consumer.batch_receive()]

    def _sleep(self, seconds: float) -> None:
        with self._changed:
            if self._receiving:
                self._changed.wait(seconds)

    def _send_acknowledgements(self, consumer: _pulsar.Consumer) -> None:
        # 8. Acknowledge: entry by entry; a cumulative one would cover what has not come yet (`courses`).
        if not self._to_acknowledge:
            return
        with self._changed:
            pending, self._to_acknowledge = self._to_acknowledge, []
        for done in pending:
            for entry_id in done.ended:
                consumer.acknowledge(entry_id)  # type: ignore[arg-type]  # a source's own id
            self._counters.acknowledged += done.message_count

    def _call(self, callback: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            # The event loop is closed: nobody is left to tell.
            return

    def _end(self, error: BaseException | None) -> None:
        self._drained.set()
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
