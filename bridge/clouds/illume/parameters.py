"""Where a deployment takes the parameters of its GET calls: every page of the vendor says in the body, none was seen.

By query first, and where the parameters are refused, as a JSON body that is signed (contract: firmware APIs, 3). What
worked is remembered and tried first from then on; a call that was refused for its parameters has changed nothing, so
this holds for calls that act as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec
import structlog

from bridge.clouds.client import Call, Reply
from bridge.clouds.errors import BadRequest, Misconfigured
from bridge.clouds.illume.settings import ParameterPlace

log = structlog.get_logger(__name__)

Place = Literal["query", "body"]
Value = str | int
Send = Callable[[Call], Awaitable[Reply]]

NOT_SEEN: Final = frozenset({"1100", "1101", "1102", "1109", "http-400"})
"""Codes with which parameters are refused, perhaps because they were looked for in the other place."""

UNUSABLE_AFTER: Final = 5
"""Different calls in a row that were refused in every place, none ever accepted: one may have a strange device id."""

_PLACES: Final[Mapping[ParameterPlace, tuple[Place, ...]]] = {
    "auto": ("query", "body"),
    "query": ("query",),
    "body": ("body",),
}


class Parameters:
    """Sends one deployment's GET calls, and remembers where it takes their parameters."""

    def __init__(self, account: str, configured: ParameterPlace) -> None:
        self._account = account
        self._places = _PLACES[configured]
        self._has_worked = False
        self._refused_in_a_row: set[tuple[str, bytes]] = set()
        """Paths and values; never more than `UNUSABLE_AFTER`."""

    async def send(self, send: Send, *, api: str, path: str, values: Mapping[str, Value]) -> Reply:
        """Send a call with `values`, by `client.ask` or `client.act`.

        Raises BadRequest where its parameters are refused in every place, Misconfigured where no call's ever were not.
        """
        refusals: dict[Place, BadRequest] = {}
        for place in self._places:
            try:
                reply = await send(_call(place, api, path, values))
            except BadRequest as error:
                if error.code not in NOT_SEEN:
                    raise
                refusals[place] = error
            else:
                self._remember(place)
                return reply
        if len(self._refused_in_a_row) < UNUSABLE_AFTER:
            self._refused_in_a_row.add((path, msgspec.json.encode(values)))
        raise self._judged(refusals)

    def _remember(self, place: Place) -> None:
        self._refused_in_a_row.clear()
        if self._has_worked and self._places[0] == place:
            return
        self._has_worked = True
        self._places = (place, *(other for other in self._places if other != place))
        log.info("parameters_taken", account=self._account, place=place)

    def _judged(self, refusals: Mapping[Place, BadRequest]) -> BadRequest | Misconfigured:
        refusal, text = next(iter(refusals.values())), _text(refusals)
        if self._has_worked or len(self._refused_in_a_row) < UNUSABLE_AFTER:
            return BadRequest(
                text,
                api=refusal.api,
                code=refusal.code,
                trace_id=refusal.trace_id,
                asked_at_ms=refusal.asked_at_ms,
            )
        return Misconfigured(
            f"parameters are refused by {' and by '.join(self._places)}: {text}",
            api=refusal.api,
            code=refusal.code,
            trace_id=refusal.trace_id,
            asked_at_ms=refusal.asked_at_ms,
            remedy="check the account's api.project_ids and api.get_params, and start the bridge again",
        )


def _text(refusals: Mapping[Place, BadRequest]) -> str:
    """Return what the cloud said; of each place, where it said different things."""
    by_text = {str(refusal): refusal.text for refusal in refusals.values()}
    if len(by_text) == 1:
        return next(iter(by_text.values()))
    return "; ".join(f"by {place}: {refusal.text} ({refusal.code})" for place, refusal in refusals.items())


def _call(place: Place, api: str, path: str, values: Mapping[str, Value]) -> Call:
    if place == "body":
        return Call(api=api, path=path, body=msgspec.json.encode(values))
    return Call(api=api, path=path, query={name: str(value) for name, value in values.items()})
