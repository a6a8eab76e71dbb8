"""What somebody typed, as an error may repeat it: nothing that could be a secret, and nothing that a terminal obeys."""

from __future__ import annotations

from pathlib import Path
from typing import Final

LONGEST_SHOWN: Final = 23
"""No access key is shorter than 24 characters; aliases, options and devices' ids are."""
_BEGINNING: Final = 4


def printable(text: str) -> str:
    """Return a text without what a terminal would obey; what clouds send and people paste holds anything."""
    return "".join(character if character.isprintable() else "�" for character in text)


def typed(text: str) -> str:
    """Return a short text as it is, of a longer one the beginning and the length."""
    if len(text) <= LONGEST_SHOWN:
        return printable(text)
    return f"{printable(text[:_BEGINNING])}… ({len(text)} characters)"


def typed_file(name: str | Path) -> str:
    """Return the name of a file that need not exist, whole where it looks like one."""
    path = Path(name)
    looks_like_one = path.suffix == ".toml" or exists(path)
    return printable(str(name)) if looks_like_one else typed(str(name))


def no_such_file(name: str | Path) -> str:
    """Return that there is no such file, without its name: often a secret or a message was pasted in its place."""
    path = Path(name)
    folder = f" in {printable(str(path.parent))}" if path.parent != Path() and exists(path.parent) else ""
    return f"no such file{folder} (its name is not repeated here: it may be a secret)"


def exists(name: str | Path) -> bool:
    """Whether there is a file or folder of that name, which may be anything."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
