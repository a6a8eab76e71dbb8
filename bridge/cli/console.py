"""How every command writes: text for people through one kind of console, JSON as lines that a terminal can show."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.text import Text

_PIPED_COLUMNS: Final = 200
"""Where nobody watches, lines are as long as they have to be; rich would take 80 columns."""


class CommandConsole(Console):
    """A console that tells when nobody reads the output any more, where rich's own ends the process with 1."""

    def on_broken_pipe(self) -> None:
        """Let the command decide."""
        raise BrokenPipeError


def console(*, stderr: bool = False) -> CommandConsole:
    """Return a console on standard output. Lines are never broken: what is copied from them has to be whole."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPED_COLUMNS
    return CommandConsole(stderr=stderr, highlight=False, soft_wrap=True, width=width)


def print_rows(on: Console, rows: Sequence[tuple[str, Text]]) -> None:
    """Print `name  text` lines, the texts below each other, whole on the narrowest terminal."""
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        on.print(Text.assemble((f" {name:<{width}}  ", "dim"), text))


def write_json(value: Any) -> None:
    """Write one line of JSON, at once. `msgspec.Raw` stands for itself."""
    sys.stdout.write(f"{terminal_json(msgspec.json.encode(value).decode())}\n")
    sys.stdout.flush()


def terminal_json(text: str) -> str:
    r"""Return the same JSON with `\u` escapes for what a terminal would obey: control codes above ASCII, directions.

    Names are typed by anybody, and JSON itself escapes only the control codes of ASCII, without DEL.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in "\t\n\r" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
