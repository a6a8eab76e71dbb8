"""A complete configuration to change one thing in."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.config import Configuration, ConfigurationError, load

COMPLETE: dict[str, Any] = {
    "kafka": {"bootstrap_servers": "localhost:9092"},
    "accounts": {
        "tuya-demo": {
            "cloud": "tuya-cloud",
            "access_id": "access-id",
            "access_key_file": "key.txt",
            "gateway": {"url": "pulsar+ssl://localhost:7285", "subscription": "access-id-sub"},
            "api": {"url": "https://localhost:8443"},
        }
    },
}


class Written:
    """Writes configuration files into a folder of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "ota-bridge.toml"
        (folder / "key.txt").write_text("a-very-secret-access-key\n", encoding="utf-8")
        self.tables = copy.deepcopy(COMPLETE)

    def set(self, path: str, value: object) -> None:
        """Set a key by its dotted path."""
        self.parent(path)[path.rpartition(".")[2]] = value

    def remove(self, path: str) -> None:
        """Remove a key by its dotted path."""
        del self.parent(path)[path.rpartition(".")[2]]

    def parent(self, path: str) -> dict[str, Any]:
        """Return the table of a dotted path."""
        table = self.tables
        for part in path.split(".")[:-1]:
            table = table.setdefault(part, {})
        return table

    def load(self, environment: Mapping[str, str] | None = None) -> Configuration:
        """Write the file and load it."""
        self.file.write_text("".join(_lines("", self.tables)), encoding="utf-8")
        return load(self.file, environment or {})

    def problems(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """Write the file, load it, and return what was wrong by path."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(environment)
        return {problem.path: f"{problem.what}. {problem.remedy}" for problem in caught.value.problems}


def _lines(path: str, table: Mapping[str, Any]) -> Iterator[str]:
    """Yield each value as a dotted key, which TOML allows everywhere."""
    for key, value in table.items():
        if isinstance(value, dict) and value:
            yield from _lines(f"{path}{key}.", value)
        else:
            yield f"{path}{key} = {json.dumps(value)}\n"
