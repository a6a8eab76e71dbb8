"""The parameters of a request to the lighting API, from where this deployment looks for them, each checked.

A query has texts, a body has JSON's types; the filters that are lists exist in a body only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from deploy.sandbox.cloud.rest import Asked
from deploy.sandbox.cloud.rest_faults import Refused
from deploy.sandbox.cloud.tuya.door import query_parameters

_MOST_PER_PAGE = 100
_LIST_FILTERS: Mapping[str, frozenset[object]] = {
    "device_status": frozenset({"Expiring", "Exception", "Online", "Offline"}),
    "device_types": frozenset({-1, 0, 1, 2, 3, 4}),
    "top_categories": frozenset({"dgzm", "zm", "xjd", "jjaf", "wgzk", "qt"}),
    "upgrade_status": frozenset({0, 1, 2, 3, 4, 5}),
}


class Parameters:
    """What a request says."""

    def __init__(self, values: Mapping[str, Any], *, typed: bool) -> None:
        self._values = values
        self._typed = typed

    def text(self, name: str) -> str:
        """A required text."""
        value = self._values.get(name)
        if value is None or value == "":
            raise Refused(1100, f"param is empty: {name}")
        if not isinstance(value, str):
            raise Refused(1104, f"type is incorrect: {name}")
        return value

    def optional_text(self, name: str) -> str | None:
        """A text that may be missing."""
        return self.text(name) if name in self._values else None

    def number(self, name: str, most: int | None = None) -> int:
        """A required number from 1."""
        value = self._values.get(name)
        if value is None or value == "":
            raise Refused(1100, f"param is empty: {name}")
        if not self._typed and isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refused(1104, f"type is incorrect: {name}")
        if value < 1 or (most is not None and value > most):
            raise Refused(1101, f"params range invalid: {name}")
        return value

    def page(self) -> tuple[int, int]:
        """Number and size of the page."""
        return self.number("page"), self.number("page_size", _MOST_PER_PAGE)

    def online(self) -> bool | None:
        """The filter for devices that are online, or are not."""
        value = self._values.get("online")
        if value is None or (self._typed and isinstance(value, bool)):
            return value
        if self._typed or value not in ("true", "false"):
            raise Refused(1104, "type is incorrect: online")
        return bool(value == "true")

    def choices(self, name: str) -> frozenset[object] | None:
        """A filter that is a list; all of them where it is missing."""
        values = self._values.get(name)
        if values is None:
            return None
        if not self._typed or not isinstance(values, list):
            raise Refused(1109, f"param is illegal: {name}")
        if not set(values) <= _LIST_FILTERS[name]:
            raise Refused(1101, f"params range invalid: {name}")
        return frozenset(values)

    def texts(self, name: str) -> list[str]:
        """A required list of texts."""
        values = self._values.get(name)
        if not values:
            raise Refused(1100, f"param is empty: {name}")
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise Refused(1104, f"type is incorrect: {name}")
        return values

    def only(self, *names: str) -> Parameters:
        """Refuse any other parameter."""
        if unknown := sorted(set(self._values) - set(names)):
            raise Refused(1109, f"param is illegal: {', '.join(unknown)}")
        return self


def parameters_of(asked: Asked, takes: Literal["query", "body"]) -> Parameters:
    """Read a request's parameters; those in the other place are not seen."""
    if takes == "query":
        return Parameters(query_parameters(asked.query), typed=False)
    if not asked.body:
        return Parameters({}, typed=True)
    if asked.headers.get("content-type", "").split(";")[0] != "application/json":
        raise Refused(1006, "not support content type", "form")
    try:
        values = msgspec.json.decode(asked.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        values = None
    if not isinstance(values, dict):
        raise Refused(1109, "param is illegal: the body is not a JSON object", "form")
    return Parameters(values, typed=True)
