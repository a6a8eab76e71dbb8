"""Runs every part, prints one table, and writes `build/bench.json`: one flat object, metric name to number.

A part that fails is told and leaves its metrics out; the others go on. Figures of different runs differ by the
machine's mood: compare within one run.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from deploy.sandbox.supervisor import PROJECT
from tests.benchmarks.push_to_event import measure_push_to_event

Part = Callable[[Path], Awaitable[Mapping[str, float]]]

PARTS: Final[Mapping[str, Part]] = {"push to event": measure_push_to_event}


def main() -> int:
    """Measure; 0 when every part gave its figures."""
    build = PROJECT / "build"
    build.mkdir(exist_ok=True)
    console = Console()
    console.print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.platform()}")
    metrics: dict[str, float] = {}
    failed = []
    for name, part in PARTS.items():
        console.print(f"measuring {name} …")
        try:
            metrics |= asyncio.run(part(build / "bench"))
        except Exception:  # noqa: BLE001 - told, and the other parts still give their figures
            failed.append(name)
            traceback.print_exc()
    table = Table("metric", "value")
    table.columns[1].justify = "right"
    for name, value in metrics.items():
        table.add_row(name, f"{value:,.1f}")
    console.print(table)
    file = build / "bench.json"
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    temporary.replace(file)
    if failed:
        console.print(f"failed: {', '.join(failed)}", style="red")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
