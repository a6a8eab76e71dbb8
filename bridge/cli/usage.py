"""What is said about a command line that cannot be understood: one sentence, and never a secret pasted into it."""

from __future__ import annotations

from cyclopts import CycloptsError
from cyclopts.exceptions import UnusedCliTokensError
from rich.text import Text

from bridge.typed import LONGEST_SHOWN, printable, typed


def wrong_command_line(error: CycloptsError) -> Text:
    """Return the sentence, and where the help is."""
    tokens = error.root_input_tokens or []
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        told = f"Unexpected argument: {error.unused_tokens[0]}."
    else:
        told = str(error)
    for word in sorted((_value(token) for token in tokens), key=len, reverse=True):
        if len(word) > LONGEST_SHOWN:
            told = told.replace(word, typed(word))
    command = " ".join(["ota-bridge", *(error.command_chain or ())])
    return Text(f"{printable(told)} See `{command} --help`.")


def _value(token: str) -> str:
    """Return what of a word may be anything: all of it, but for the name of an option before `=`."""
    name, separator, value = token.partition("=")
    return value if separator and name.startswith("-") else token
