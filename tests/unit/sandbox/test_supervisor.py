"""The sandbox's two files tell where everything is, and never where an earlier run was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import pytest

from deploy.sandbox import supervisor
from deploy.sandbox.supervisor import Sandbox


class NoBrokers:
    """Brokers that cannot be started; `found` are the files of the sandbox when they should have been."""

    found: tuple[str, ...] = ()

    def __init__(self, directory: Path, **_: Any) -> None:
        self._directory = directory

    async def __aenter__(self) -> Self:
        type(self).found = tuple(sorted(file.name for file in self._directory.parent.iterdir()))
        raise ConnectionError

    async def __aexit__(self, *_: object) -> None:
        return None


async def test_what_a_killed_sandbox_left_is_removed_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "Brokers", NoBrokers)
    for left in ("sandbox.json", "ota-bridge.toml"):
        (tmp_path / left).write_text("of a run that was killed", encoding="utf-8")

    with pytest.raises(ConnectionError):
        async with Sandbox(tmp_path):
            pass

    assert NoBrokers.found == ("sandbox",)
