"""`ota-bridge schemas export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from bridge.cli.failure import CommandFailed
from bridge.exit_codes import ExitCode
from schemas.export import documents


def export(
    directory: Annotated[Path, Parameter(help="Where the documents go; made where it is missing.")],
    /,
    *,
    prefix: Annotated[str, Parameter(help="What your topics' names begin with.")] = "ota",
) -> None:
    """Write the JSON Schema of every record, and one AsyncAPI document of the topics."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        written = documents(prefix)
        for name, content in written.items():
            (directory / name).write_bytes(content)
    except OSError as error:
        raise CommandFailed(ExitCode.USAGE, f"Cannot write to {directory}: {error.strerror}.") from error
    for name in written:
        print(directory / name)
