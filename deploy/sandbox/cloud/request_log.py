"""What an account asked of its REST API: the answer of `GET /requests`, and the exact rate limit."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

RefusalKind = Literal["signature", "token", "rate", "account", "form"]
"""`account`: by a name that nobody has; it counts with every account of the cloud. `form`: not written as a request to

this API is, such as with another Content-Type, or a parameter twice.
"""

NOTHING_REFUSED: Final[Mapping[RefusalKind, int]] = dict.fromkeys(get_args(RefusalKind), 0)

_KEEP = 10_000
"""Requests that are remembered at least, those of the latest times; no window of any account has nearly as many."""


class RateWindow:
    """Counts requests in every window of so many milliseconds.

    A request counts at the time that it was signed for, which lies within a few milliseconds of its sending: on a
    machine where brokers, bridge and clouds share two cores, arrivals bunch up through no fault of the client's. Where
    nothing is signed with a time of that precision, it counts as it arrives.
    """

    def __init__(self, window_ms: int = 1000) -> None:
        self._window_ms = window_ms
        self._times_ms: list[int] = []
        self.highest = 0

    def count(self, at_ms: int) -> int:
        """Requests in the fullest window that holds `at_ms`.

        It ends there, or with one of the requests that were signed for later and came before.
        """
        times_ms = self._times_ms
        later = bisect_right(times_ms, at_ms), bisect_left(times_ms, at_ms + self._window_ms)
        ends = (at_ms, *times_ms[slice(*later)])
        return max(
            bisect_right(times_ms, end) - bisect_right(times_ms, end - self._window_ms) for end in ends
        )

    def add(self, at_ms: int) -> None:
        """Count a request."""
        insort(self._times_ms, at_ms)
        self.highest = max(self.highest, self.count(at_ms))
        if len(self._times_ms) > 2 * _KEEP:
            del self._times_ms[:_KEEP]


class RequestLog:
    """One account's requests. Faults that a knob injected are not refusals and are not counted as such."""

    def __init__(self, rate_per_s: float, window_s: float = 1.0) -> None:
        self._most = round(rate_per_s * window_s)
        self._window_s = window_s
        self._per_api: Counter[str] = Counter()
        self._refused: Counter[RefusalKind] = Counter()
        self._asked_per_s = RateWindow()
        self._asked = RateWindow(round(window_s * 1000))
        self._served = RateWindow(round(window_s * 1000))
        self._logins = 0
        self._logins_at_once = 0

    def count(self, api: str) -> None:
        """A request for `api` arrived."""
        self._per_api[api] += 1

    def refuse(self, kind: RefusalKind) -> None:
        """A request was refused."""
        self._refused[kind] += 1

    def admit(self, signed_at_ms: int) -> bool:
        """Whether a signed request is within the rate; refused ones do not use it up."""
        self._asked_per_s.add(signed_at_ms)
        self._asked.add(signed_at_ms)
        if self._served.count(signed_at_ms) >= self._most:
            return False
        self._served.add(signed_at_ms)
        return True

    def login_begins(self) -> None:
        """A token is being issued."""
        self._logins += 1
        self._logins_at_once = max(self._logins_at_once, self._logins)

    def login_ends(self) -> None:
        """The token was issued, or not."""
        self._logins -= 1

    def report(self) -> dict[str, Any]:
        """Return the answer of `GET /requests`."""
        return {
            "per_api": dict(self._per_api),
            "max_per_s": self._asked_per_s.highest,
            "max_per_window": self._asked.highest,
            "window_s": self._window_s,
            "allowed_per_window": self._most,
            "refused": {**NOTHING_REFUSED, **self._refused},
            "logins_at_once": self._logins_at_once,
        }
