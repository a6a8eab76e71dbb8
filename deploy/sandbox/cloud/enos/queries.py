"""What a list of EnOS may be asked for: pages, and expressions of a few fields with `=` and `in`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from deploy.sandbox.cloud.rest_faults import Refused

INVALID_ARGUMENT = 400
"""The service's code for it is not published; HTTP's stands for it."""
_DEFAULT_SIZE = 10
_MOST_SIZE = 200
_TERM = re.compile(r"""\s*(\w+)\s*(=|in)\s*(\([^)]*\)|'[^'"\\]*'|"[^'"\\]*"|true|false)\s*""")
_LITERAL = re.compile(r"""\s*(?:'([^'"\\]*)'|"([^'"\\]*)")\s*""")


class Query(Struct, frozen=True, kw_only=True):
    """One question for a page. `accepts` says whether an entry is asked for."""

    number: int
    size: int
    wanted: Mapping[str, frozenset[object]]

    def accepts(self, entry: Mapping[str, object]) -> bool:
        """Whether an entry satisfies every term."""
        return all(entry[field] in values for field, values in self.wanted.items())

    def page(self, entries: Sequence[Any]) -> tuple[Sequence[Any], dict[str, object]]:
        """Return the page's entries, and what stands beside them."""
        first = (self.number - 1) * self.size
        return entries[first : first + self.size], {
            "sortedBy": None,
            "pageNo": self.number,
            "pageSize": self.size,
            "totalSize": len(entries),
        }


def query_of(body: Mapping[str, Any], operators: Mapping[str, Sequence[str]]) -> Query:
    """Read a list's body; `operators` are those of each field that may be asked for."""
    unknown = sorted(set(body) - {"expression", "pagination"})
    if unknown:
        raise _invalid(", ".join(unknown))
    pagination = body.get("pagination") or {}
    if not isinstance(pagination, dict) or set(pagination) - {"pageNo", "pageSize"}:
        raise _invalid("pagination")
    number = _whole(pagination.get("pageNo", 1), "pageNo", lambda value: value >= 1)
    size = _whole(
        pagination.get("pageSize", _DEFAULT_SIZE), "pageSize", lambda value: 1 <= value <= _MOST_SIZE
    )
    expression = body.get("expression") or ""
    if not isinstance(expression, str):
        raise _invalid("expression")
    return Query(number=number, size=size, wanted=dict(_terms(expression, operators)))


def _terms(
    expression: str, operators: Mapping[str, Sequence[str]]
) -> Sequence[tuple[str, frozenset[object]]]:
    terms: list[tuple[str, frozenset[object]]] = []
    for part in re.split(r"\band\b", expression) if expression.strip() else ():
        match = _TERM.fullmatch(part)
        if match is None:
            raise _invalid(f"expression: {part!r}")
        field, operator, value = match.groups()
        if operator not in operators.get(field, ()):
            raise _invalid(f"expression: {field} {operator}")
        terms.append((field, _values(field, operator, value)))
    return terms


def _values(field: str, operator: str, value: str) -> frozenset[object]:
    if value in ("true", "false"):
        if field != "isUpgrading":
            raise _invalid(f"expression: {field} is a text")
        return frozenset({value == "true"})
    if (operator == "in") != value.startswith("(") or field == "isUpgrading":
        raise _invalid(f"expression: {field} {operator} {value[:20]}")
    literals = value[1:-1].split(",") if operator == "in" else [value]
    found: set[object] = set()
    for literal in literals:
        match = _LITERAL.fullmatch(literal)
        if match is None:
            raise _invalid(f"expression: {literal[:20]!r} is no literal")
        found.add(match.group(1) if match.group(1) is not None else match.group(2))
    return frozenset(found)


def _whole(value: object, name: str, holds: Callable[[int], bool]) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not holds(value):
        raise _invalid(name)
    return value


def _invalid(what: str) -> Refused:
    return Refused(INVALID_ARGUMENT, f"invalid argument: {what}", status=400)
