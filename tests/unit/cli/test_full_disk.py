"""Where the output goes there is no room left: one sentence and an exit code."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("arguments", ["version", "--help", "config example"])
def test_a_command_whose_output_takes_no_more_says_so(arguments: str, tmp_path: Path) -> None:
    """A limit of the shell's on the size of files does what a full disk does, without one."""
    file = shlex.quote(str(tmp_path / "output"))
    command = f"ulimit -f 0; {shlex.quote(sys.executable)} -c 'from bridge.cli import main; main()' {arguments} >{file}"
    ended = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.stderr == (
        "The output cannot be written (File too large). Make room where it goes, and start the command again.\n"
    )
    assert ended.returncode == 1


@pytest.mark.parametrize(("argument", "code"), [("version", 0), ("no-such-command", 2)])
def test_without_an_output_the_exit_code_is_the_commands(argument: str, code: int) -> None:
    """As where a service manager, or a shell's `>&-`, starts the process without one."""
    command = f"{shlex.quote(sys.executable)} -c 'from bridge.cli import main; main()' {argument} >&-"
    ended = subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr


def test_a_command_that_fails_keeps_its_exit_code_where_nobody_reads_its_output(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its output is a pipe whose reader has gone; nothing was flushed before the command ended."""
    program = (
        "import sys\n"
        "from bridge import cli\n"
        "cli.application = lambda _: lambda _: print('one line') or 5\n"
        "sys.exit(cli.run_command([]))\n"
    )
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", program],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (5, "")
