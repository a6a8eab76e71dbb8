"""EnOS's query expressions. No rule for escaping is documented, so what would need it is refused. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_UNQUOTABLE: Final = frozenset("'\"\\")


def is_quotable(value: str) -> bool:
    """Return whether a value can stand in an expression, and only mean itself there."""
    return bool(value.strip()) and value.isprintable() and _UNQUOTABLE.isdisjoint(value)


def one_of(field: str, values: Sequence[str]) -> str:
    """Return the expression that holds where `field` has one of `values`; a single one by `=`.

    Raises ValueError for a value that is not quotable, and where there is none.
    """
    if not values or not all(is_quotable(value) for value in values):
        raise ValueError(f"{field} cannot be asked for: a value is missing, or holds a quotation mark")
    if len(values) == 1:
        return f"{field}='{values[0]}'"
    return f"{field} in ({','.join(f'{chr(34)}{value}{chr(34)}' for value in values)})"
