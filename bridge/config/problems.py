"""What is wrong with a configuration: each mistake with its dotted path and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Problem(Struct, frozen=True):
    """One mistake. `path` is the key as the file writes it, `accounts.tuya-demo.gateway.url`."""

    path: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}. {self.remedy}."


class ConfigurationError(Exception):
    """The configuration cannot be used: the command ends with exit code 2 and shows every problem."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{count} in {source}:", *(f"  {problem}" for problem in problems)]))
