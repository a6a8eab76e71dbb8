"""A baseline's run over the topics: it asks as its course says, and counts the answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import Struct

from bridge.cli.baseline_course import AGAIN_AFTER_S, STOPPED, Course
from bridge.cli.baseline_records import Seen, hint_record, known_devices, lookup_record
from bridge.cli.failure import CommandFailed
from bridge.cli.kafka import ends_of, open_reader
from bridge.clouds.settings import AnyAccount
from bridge.exit_codes import ExitCode
from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from bridge.kafka.writer import KafkaWriter
from consumer.sink import OutgoingRecord
from schemas.unreadable import UNREADABLE

_POLL_MS: Final = 250
_WRITE_WITHIN_S: Final = 30.0
_LIST_AGAIN_S: Final = 600.0
"""A listing may take hours, and nobody tells whether the process that makes it is still there: asked for so often."""

_SILENT_S: Final = 300.0
"""No answer at all for so long: no bridge runs that has the account."""
_DOUBTFUL_S: Final = 20.0
"""No answer at all for so long: perhaps no bridge runs that has the account."""

_PASSING: Final = frozenset({"retry", "throttled", "token", "clock_skew"})
_LISTINGS_MOST: Final = 5
"""A listing that these errors ended is asked for again, so often in all."""

_DISCOVERY: Final = "discovery"


class Told(Struct, frozen=True, kw_only=True):
    """How a baseline stands: `asked` counts questions, those asked again included."""

    asked: int
    is_listing: bool
    listing_error: str | None
    seconds: float
    note: str = ""


class Baseline:
    """One run. What was answered from `began_ms` on counts; `device_ids` None: all that there are."""

    def __init__(
        self,
        settings: KafkaSettings,
        account: AnyAccount,
        course: Course,
        *,
        began_ms: int,
        device_ids: Sequence[str] | None,
    ) -> None:
        self._settings = settings
        self._account = account
        self._course = course
        self._began_ms = began_ms
        self._device_ids = device_ids
        self._known: set[str] = set()
        self._listing_id = f"baseline/{uuid.uuid4()}"
        self._is_listing = device_ids is None and account.api.discovery != "off"
        self._has_listing_ended = False
        self._listing_asked_at = -_LIST_AGAIN_S
        self._listings = 0
        self._listing_error: str | None = None
        self._asked = 0
        self._error: str | None = None
        self._decode = msgspec.json.Decoder(Seen).decode

    async def run(self, show: Callable[[Told], None]) -> Told:
        """Ask and count until every device is answered. Raises CommandFailed where that cannot be."""
        started = time.monotonic()
        topic = topic_name(self._settings.prefix, "observations")
        async with open_reader(self._settings, topic) as (answers, count):
            await self._begin(answers, [TopicPartition(topic, number) for number in range(count)])
            # 1. Take the devices
            self._known = await known_devices(self._settings, self._account)
            for device_id in sorted(self._known) if self._device_ids is None else self._device_ids:
                self._course.add(device_id)
            async with KafkaWriter(msgspec.structs.replace(self._settings, partitions=count)) as writer:
                # Answers come first: what an interrupted run has asked is not asked again.
                behind, is_catching_up = await ends_of(answers), True
                while True:
                    # Until it asks, nobody owes it an answer, however long it reads.
                    if await self._count(answers) or is_catching_up:
                        heard = time.monotonic()
                    if self._has_listing_ended:
                        # Its hints were written before its answer, on other partitions: read them too.
                        behind, self._has_listing_ended = await ends_of(answers), False
                    behind = {
                        place: end for place, end in behind.items() if await answers.position(place) < end
                    }
                    told = self._told(started, heard)
                    show(told)
                    if behind:
                        continue
                    if is_catching_up:
                        # What the cloud refused an interrupted run may have been mended since.
                        is_catching_up, self._error = False, None
                    if self._course.is_over and not self._is_listing:
                        return told
                    # 2. Ask
                    await self._ask(writer)
                    self._check(heard)

    async def _begin(self, answers: AIOKafkaConsumer, places: Sequence[TopicPartition]) -> None:
        """Stand where the baseline began, before anything is asked."""
        answers.assign(places)
        offsets = await answers.offsets_for_times(dict.fromkeys(places, self._began_ms))
        ends = await answers.end_offsets(places)
        for place in places:
            found = offsets.get(place)
            answers.seek(place, ends[place] if found is None else found.offset)

    async def _count(self, answers: AIOKafkaConsumer) -> bool:
        """3. Count the answers; return whether there was any."""
        heard = False
        now_ms = time.time_ns() // 1_000_000
        for batch in (await answers.getmany(timeout_ms=_POLL_MS)).values():
            for record in batch:
                try:
                    seen = self._decode(record.value or b"")
                except UNREADABLE:
                    continue
                if seen.account != self._account.name or record.timestamp < self._began_ms:
                    continue
                heard = self._take(seen, now_ms) or heard
        return heard

    def _take(self, seen: Seen, now_ms: int) -> bool:
        if seen.kind == "hint":
            # The fold asks about a device that the listing has found; one answered before is no news.
            if self._device_ids is None and seen.evidence.name == _DISCOVERY:
                self._course.add_asked(seen.device_id, now_ms)
            return False
        if seen.kind != "answer" or seen.outcome is None:
            return False
        self._error = seen.error if seen.outcome == "unavailable" else None
        if seen.device_id:
            self._course.answered(seen.device_id, seen.outcome, seen.error, now_ms)
        elif seen.lookup_id == self._listing_id and self._is_listing:
            self._end_listing(seen.error)
        return True

    def _end_listing(self, error: str | None) -> None:
        """The cloud was away for a moment: try again. Anything else ends the listing."""
        self._has_listing_ended = True
        if error in _PASSING and self._listings < _LISTINGS_MOST:
            self._listing_asked_at += AGAIN_AFTER_S - _LIST_AGAIN_S
        else:
            self._is_listing, self._listing_error = False, error

    async def _ask(self, writer: KafkaWriter) -> None:
        now_ms = time.time_ns() // 1_000_000
        records: list[OutgoingRecord] = []
        now = time.monotonic()
        if self._is_listing and now - self._listing_asked_at >= _LIST_AGAIN_S:
            self._listing_asked_at = now
            self._listings += 1
            records.append(lookup_record(self._account, self._listing_id, "", now_ms))
        taken = self._course.take(now_ms)
        self._asked += len(taken)
        for device_id in taken:
            if device_id in self._known:
                records.append(
                    lookup_record(self._account, f"baseline/{device_id}/{now_ms}", device_id, now_ms)
                )
            else:
                records.append(hint_record(self._account, device_id, now_ms))
        if records:
            try:
                async with asyncio.timeout(_WRITE_WITHIN_S):
                    await writer.write(records)
            except TimeoutError:
                raise TimeoutError(f"questions were not confirmed within {_WRITE_WITHIN_S:.0f} s") from None

    def _told(self, started: float, heard: float) -> Told:
        note = f"the cloud does not answer: {self._error}" if self._error is not None else ""
        if time.monotonic() - heard > _DOUBTFUL_S:
            note = f"nobody has answered for {_DOUBTFUL_S:.0f} s: does `ota-bridge run` run?"
        return Told(
            asked=self._asked,
            is_listing=self._is_listing,
            listing_error=self._listing_error,
            seconds=time.monotonic() - started,
            note=note,
        )

    def _check(self, heard: float) -> None:
        """Raise CommandFailed where waiting leads to nothing."""
        name = self._account.name
        if self._error in STOPPED:
            raise CommandFailed(
                ExitCode.REFUSED,
                f"The cloud refuses account {name} for good ({self._error}). The bridge's log and /status say why.",
            )
        if time.monotonic() - heard > _SILENT_S:
            raise CommandFailed(
                ExitCode.UNREACHABLE,
                f"Nobody has answered for {_SILENT_S:.0f} s. Check that `ota-bridge run` runs, with the stages fold and"
                f" reconcile, and that its configuration has account {name}.",
            )
