"""The demo shows events as they come, judges the bridge by the cloud's own truth, and leaves nothing running."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import psutil

from deploy.sandbox.supervisor import PROJECT


async def test_a_fleet_upgrades_and_the_state_table_tells_the_truth(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.sandbox.demo"),
        *("--devices", "12", "--rate-per-s", "12", "--push-drop", "0.3", "--directory", str(tmp_path)),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    shown = (await demo.communicate())[0].decode()

    assert demo.returncode == 0, shown
    assert shown.splitlines()[-1] == "truth == state: 12/12"
    assert re.fullmatch(r"phantom attempts: 0, merged attempts: \d+", shown.splitlines()[-2])
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3}  \w+ .*succeeded", shown, re.MULTILINE), shown
    assert not [each for each in psutil.process_iter() if names(each, tmp_path)]


def names(process: psutil.Process, directory: Path) -> bool:
    try:
        return any(str(directory) in argument for argument in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
