"""What the pages for users mention exists: commands, targets of make, other pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cyclopts import App

from bridge.cli import application

PROJECT = Path(__file__).parents[3]
PAGES = [
    "README.md",
    "deploy/sandbox/README.md",
    *(f"docs/{page.name}" for page in (PROJECT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    app = application()
    for words in re.findall(r"(?:[$`/]|^) ?ota-bridge ([a-z-]+(?: [a-z-]+)?)", text, re.MULTILINE):
        first, *rest = words.split()
        assert first in app, f"{page}: ota-bridge {words}"
        command = app[first]
        if rest and is_group(command):
            assert rest[0] in command, f"{page}: ota-bridge {words}"


@pytest.mark.parametrize("page", PAGES)
def test_every_target_of_make_exists(page: str) -> None:
    text = (PROJECT / page).read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)

    assert set(re.findall(r"[$`] ?make ([a-z]+)", text)) <= {*targets}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    file = PROJECT / page
    text = re.sub(r"^```.*?^```$", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = file if not path else file.parent / path
        assert target.exists(), f"{page}: {link}"
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {title.lower().replace(" ", "-") for title in titles}, f"{page}: {link}"


def is_group(command: App) -> bool:
    """Whether it has commands of its own."""
    return any(not name.startswith("-") for name in command)
