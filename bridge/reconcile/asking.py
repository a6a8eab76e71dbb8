"""Asking the cloud about one device, and writing what it said: the end of every lookup that is served."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from msgspec.structs import replace

from bridge.clouds.errors import CloudError, DeviceUnsupported, SchemaMismatch, Unanswered
from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import Cloud, Looked
from bridge.reconcile.announced import Announced
from bridge.reconcile.circuit import Circuit
from bridge.reconcile.limits import NotOwner
from bridge.reconcile.packages import Packages
from bridge.reconcile.queue import LookupQueue, Waiting
from bridge.reconcile.records import answer_failed, answer_ok, record_of
from consumer.sink import Sink
from schemas import Observation

log = structlog.get_logger(__name__)

UNSUPPORTED_FOR_MS: Final = 24 * 3600 * 1000
OTHERS_ANSWERED_WITHIN_MS: Final = 24 * 3600 * 1000
"""A cloud that knows none of an account's devices is the wrong cloud: `not_found` counts, as a step towards a device's
removal, only while the account answers for others."""
UNSUPPORTED_MOST: Final = 10_000
"""Devices remembered as unsupported; beyond it the oldest is asked once more than necessary."""


class Asking:
    """Serves lookups of one account. What it learns about the account as a whole goes to its circuit."""

    def __init__(
        self,
        account: AnyAccount,
        cloud: Cloud,
        circuit: Circuit,
        queue: LookupQueue,
        sink: Sink,
        *,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self.answers: Counter[str] = Counter()
        """Lookups served, by outcome."""
        self.errors: Counter[str] = Counter()
        """Lookups that failed, by class of error."""
        self._account = account
        self._cloud = cloud
        self._circuit = circuit
        self._queue = queue
        self.packages = Packages(account, cloud, monotonic=monotonic)
        self.answered_by_others = 0
        """Lookups that a reading made for another device answered."""
        self._sink = sink
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._unsupported_until_ms: dict[str, int] = {}
        self._answered_at_ms: int | None = None

    async def serve(self, waiting: Waiting) -> None:
        """Ask, then write the observations, and an answer for each lookup id.

        Raises NotOwner where nothing may be asked; then nothing was answered either.
        """
        if (remembered := self._unsupported(waiting)) is not None:
            await self.refuse(waiting, remembered)
            return

        epoch = self._circuit.admit()
        try:
            looked = await self._ask(waiting)
        except CloudError as error:
            self._circuit.failed(epoch, error, waiting.device_id, self._monotonic())
            self._remember(waiting, error)
            await self.refuse(waiting, error)
        except TimeoutError:
            # The lookup's own time is over, perhaps while the account paused: that says nothing about the cloud.
            await self.refuse(waiting, Unanswered("not answered before the lookup expired", api="lookup"))
        except NotOwner:
            raise
        except Exception as error:
            log.exception("lookup_broke", account=self._account.name, device_id=waiting.device_id)
            surprise = f"the answer could not be read: {type(error).__name__}; please report it"
            await self.refuse(waiting, SchemaMismatch(surprise, api="lookup"))
        else:
            self._circuit.answered(epoch)
            await self._write_looked(waiting, looked)
            for other in looked.others:
                if (others_place := self._who_waits(other)) is not None:
                    self.answered_by_others += len(others_place.lookups)
                    await self._write_looked(others_place, other)

    async def refuse(self, waiting: Waiting, error: CloudError) -> None:
        """Write that there is no answer, and why."""
        now_ms = self._now_ms()
        asked_at_ms = self._cloud.clock.at_ms(now_ms) if error.asked_at_ms is None else error.asked_at_ms
        outcome = self._outcome(error, now_ms)
        answers = [
            answer_failed(
                self._account,
                waiting.device_id,
                lookup_id,
                error,
                outcome=outcome,
                asked_at_ms=asked_at_ms,
                observed_at_ms=now_ms,
            )
            for lookup_id in waiting.lookups
        ]
        self.errors[error.error] += len(answers)
        self.answers[outcome] += len(answers)
        log.debug(
            "lookup_failed",
            account=self._account.name,
            device_id=waiting.device_id,
            api=error.api,
            error=error.error,
            code=error.code,
            text=error.text,
            trace_id=error.trace_id,
        )
        await self._write(answers)

    async def tell(self, page: Sequence[Looked], told: Announced) -> int:
        """Write what a sweep told that the one before did not, and answer the lookups that wait for any of it.

        Return how many were answered. `told` is what the sweeps told; a finished upgrade would be told for ever.
        """
        answered = 0
        unasked: list[Observation] = []
        for looked in page:
            waiting = self._who_waits(looked)
            if waiting is None:
                unasked += looked.observations
            else:
                answered += len(waiting.lookups)
                await self._write_looked(waiting, looked)
        filled = await self.packages.fill(unasked)
        news = {said: one for one in filled if told.is_new(said := _said(one))}
        if news:
            await self._write(list(news.values()))
        for said in news:
            told.confirm(said)
        return answered

    def _who_waits(self, looked: Looked) -> Waiting | None:
        """Take the device's place in the queue, where what was told is all that its lookup would tell."""
        if not looked.is_whole:
            return None

        asked_at_ms = looked.asked_at_ms - self._cloud.clock.offset_ms
        return self._queue.take_device(looked.device_id, asked_at_ms=asked_at_ms)

    def _outcome(self, error: CloudError, now_ms: int) -> str:
        answered_at_ms = self._answered_at_ms
        others = answered_at_ms is not None and now_ms - answered_at_ms <= OTHERS_ANSWERED_WITHIN_MS
        return "not_found" if error.error == "not_found" and others else "unavailable"

    async def _ask(self, waiting: Waiting) -> Looked:
        async with asyncio.timeout(max(0.0, (waiting.expires_at_ms - self._now_ms()) / 1000)):
            return await self._cloud.lookup(waiting.device_id)

    async def _write_looked(self, waiting: Waiting, looked: Looked) -> None:
        """The newest id is the one the fold waits for; the observations carry it."""
        now_ms = self._now_ms()
        answers = [
            answer_ok(
                self._account,
                waiting.device_id,
                lookup_id,
                api=looked.api,
                asked_at_ms=looked.asked_at_ms,
                observed_at_ms=now_ms,
            )
            for lookup_id in waiting.lookups
        ]
        self.answers["ok"] += len(answers)
        self._answered_at_ms = now_ms
        newest = next(reversed(waiting.lookups))
        told = [
            replace(observation, lookup_id=newest)
            for observation in await self.packages.fill(looked.observations)
        ]
        await self._write([*told, *answers])

    async def _write(self, observations: Sequence[Observation]) -> None:
        refused = await self._sink.write(
            [record_of(self._account, observation) for observation in observations]
        )
        for index in refused:
            log.error(
                "observation_too_large",
                account=self._account.name,
                device_id=observations[index].device_id,
                remedy="raise the topic's max.message.bytes",
            )

    def _unsupported(self, waiting: Waiting) -> DeviceUnsupported | None:
        until_ms = self._unsupported_until_ms.get(waiting.device_id)
        if until_ms is None or waiting.is_operators:
            return None
        if self._now_ms() < until_ms:
            return DeviceUnsupported("not asked: unsupported less than a day ago", api="lookup")
        del self._unsupported_until_ms[waiting.device_id]
        return None

    def _remember(self, waiting: Waiting, error: CloudError) -> None:
        if not isinstance(error, DeviceUnsupported):
            return
        self._unsupported_until_ms[waiting.device_id] = self._now_ms() + UNSUPPORTED_FOR_MS
        if len(self._unsupported_until_ms) > UNSUPPORTED_MOST:
            del self._unsupported_until_ms[next(iter(self._unsupported_until_ms))]


def _said(observation: Observation) -> str:
    """What an observation tells, whenever it was told."""
    package, reason = observation.package, observation.reason
    parts = (
        observation.device_id,
        observation.channel,
        observation.status,
        observation.vendor_status,
        observation.progress,
        observation.current_version,
        observation.target_version,
        observation.task_id,
        None if package is None else (package.id, package.state),
        observation.needs_confirmation,
        None if reason is None else reason.code,
    )
    return repr(parts)
