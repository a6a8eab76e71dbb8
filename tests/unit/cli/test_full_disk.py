"""Where the output goes there is no room left: one sentence and an exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="only Linux has a device that is always full")
@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["config", "example"]])
def test_a_command_whose_output_takes_no_more_says_so(arguments: list[str]) -> None:
    with FULL.open("w", encoding="utf-8") as output:
        ended = subprocess.run(
            [sys.executable, "-c", "from bridge.cli import main; main()", *arguments],
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.stderr == (
        "The output cannot be written (No space left on device). Make room where it goes, and start the command"
        " again.\n"
    )
    assert ended.returncode == 1
