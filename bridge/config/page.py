"""Writes the generated part of `docs/configuration.md`: `make docs`. What stands above the mark is written by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from bridge.config.reference import markdown

MARK: Final = "<!-- From here on written by `make docs`. -->\n"


def renewed(page: str) -> str:
    """Return the page with its generated part as the settings structs say it now."""
    by_hand, mark, _old = page.partition(MARK)
    if not mark:
        raise ValueError(f"the page has no line {MARK.strip()}")
    return f"{by_hand}{mark}\n{markdown()}"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    file.write_text(renewed(file.read_text(encoding="utf-8")), encoding="utf-8")
