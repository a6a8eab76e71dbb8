"""Runs every part, or those named, prints one table, and writes `build/bench.json`: one flat object, metric to number.

What fails is told and leaves its metrics out; the rest goes on. Figures of different runs differ by the machine's
mood: compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from deploy.sandbox.supervisor import PROJECT
from tests.benchmarks.fold.part import measure_fold
from tests.benchmarks.gateway.part import measure_gateway
from tests.benchmarks.push_to_event import measure_push_to_event
from tests.benchmarks.run import Run

PARTS: Final[Mapping[str, Callable[[Run], Awaitable[None]]]] = {
    "gateway": measure_gateway,
    "fold": measure_fold,
    "push-to-event": measure_push_to_event,
}

FILE_WIDTH: Final = 130
"""Of tables that go into a file: nothing is cut off."""


def main() -> int:
    """Measure; 0 when everything gave its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the messages: does everything work?")
    parser.add_argument(
        "--profile", action="store_true", help="write where the bridge's time goes to build/bench"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    build = PROJECT / "build"
    directory = build / "bench"
    directory.mkdir(parents=True, exist_ok=True)
    run = Run(
        directory=directory,
        console=Console(width=None if sys.stdout.isatty() else FILE_WIDTH),
        quick=arguments.quick,
        profile=arguments.profile,
    )
    run.console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.platform()}")
    for name, part in PARTS.items():
        if name in arguments.parts or not arguments.parts:
            asyncio.run(run.part(name, part))
    _write(build / "bench.json", run.metrics)
    table = Table("metric", "value")
    table.columns[1].justify = "right"
    for name, value in run.metrics.items():
        table.add_row(name, f"{value:,.1f}")
    run.console.print(table)
    if run.failed:
        run.console.print(f"failed: {', '.join(run.failed)}", style="red")
    return 1 if run.failed else 0


def _write(file: Path, metrics: Mapping[str, float]) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)


if __name__ == "__main__":
    sys.exit(main())
