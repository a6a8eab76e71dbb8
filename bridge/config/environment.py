"""Environment variables over the file: `OTA_BRIDGE__KAFKA__BOOTSTRAP_SERVERS` is the key `kafka.bootstrap_servers`.

Two underscores separate the parts of a path. An account's alias never has an underscore, so `-` is written `_`:
`OTA_BRIDGE__ACCOUNTS__TUYA_DEMO__ACCESS_KEY`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, Final, get_args, get_origin

from msgspec import Struct

from bridge.config.problems import Problem

PREFIX: Final = "OTA_BRIDGE__"


class FromEnvironment(Struct, frozen=True):
    """A value that came as text: its type is known only where it is read. Its repr never shows the text."""

    variable: str
    text: str

    def __repr__(self) -> str:
        return f"FromEnvironment({self.variable})"


def variable_of(path: str) -> str:
    """Return the variable that sets a dotted path."""
    return PREFIX + path.replace("-", "_").replace(".", "__").upper()


def overlay(
    table: Mapping[str, Any], environment: Mapping[str, str], problems: list[Problem]
) -> dict[str, Any]:
    """Return the file's tables with the environment's values put over them."""
    merged = _copy(table)
    for variable in sorted(environment):
        if not variable.startswith(PREFIX):
            continue
        parts = [part.lower() for part in variable.removeprefix(PREFIX).split("__")]
        if parts[0] == "accounts" and len(parts) > 1:
            parts[1] = parts[1].replace("_", "-")
        target = merged
        for part in parts[:-1]:
            inner = target.setdefault(part, {})
            if not isinstance(inner, dict):
                break
            target = inner
        else:
            target[parts[-1]] = FromEnvironment(variable, environment[variable])
            continue
        problems.append(
            Problem(
                ".".join(parts), f"{variable} names a key inside a plain value", "Check the variable's name"
            )
        )
    return merged


def parse(text: str, kind: Any) -> Any:
    """Return the text as the TOML value it would be in the file; a text setting is taken as it is.

    Lists may be written as in TOML or with commas: `event,event-test`. A single value is a list of one.
    """
    is_list = get_origin(kind) is tuple
    kinds = get_args(kind) or (kind,)
    if not is_list and any(part is str or isinstance(part, str) for part in kinds):
        return text
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = None
    if is_list and not isinstance(value, list):
        return (
            [value] if isinstance(value, str) else [part.strip() for part in text.split(",") if part.strip()]
        )
    return text if value is None else value


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, dict) else value for key, value in table.items()}
