"""The file of `ota-bridge listen --save`: what was not understood, as it came, for `ota-bridge decrypt`."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bridge.cli.failure import CommandFailed
from bridge.exit_codes import ExitCode
from bridge.typed import typed_file

_PRIVATE: Final = 0o600
"""The payloads are encrypted, and may be personal data for whoever has the key."""


class KeptLetters:
    """A new file of dead letters, one JSON object a line, readable by its owner only. Leaves no empty file."""

    def __init__(self, file: Path) -> None:
        """Make the file. Raises CommandFailed where that cannot be."""
        self.name = typed_file(file)
        self._file = file
        self._count = 0
        try:
            # Never one that is there: it might be the access key's.
            self._descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        except FileExistsError:
            raise CommandFailed(
                ExitCode.USAGE, f"--save: {self.name} is there already. Name a file that is to be made."
            ) from None
        except OSError as error:
            raise CommandFailed(
                ExitCode.USAGE, f"--save: {self.name} cannot be made: {error.strerror}."
            ) from error

    def __enter__(self) -> Self:
        """Keep it open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file, and remove it where nothing was kept."""
        os.close(self._descriptor)
        if not self._count:
            self._file.unlink(missing_ok=True)

    def add(self, letter: bytes) -> None:
        """Write one, at once. Raises CommandFailed where there is no room for it: then it must not be acknowledged."""
        line = letter + b"\n"
        try:
            written = os.write(self._descriptor, line)
        except OSError as error:
            raise CommandFailed(
                ExitCode.UNEXPECTED, f"Cannot write to {self.name}: {error.strerror}."
            ) from error
        self._count += 1
        if written < len(line):
            raise CommandFailed(ExitCode.UNEXPECTED, f"Cannot write to {self.name}: there is no room.")
