"""The demo shows events as they come, judges the bridge by the cloud's own truth, and leaves nothing running."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy.sandbox.cloud.systems import SYSTEMS
from deploy.sandbox.demo.fleet import short_name
from deploy.sandbox.supervisor import PROJECT


@pytest.mark.timeout(300)
async def test_fleets_of_five_clouds_upgrade_and_the_state_table_tells_the_truth(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.sandbox.demo"),
        *("--devices", "60", "--rate-per-s", "30", "--push-drop", "0.3", "--directory", str(tmp_path)),
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    shown = (await demo.communicate())[0].decode()

    assert demo.returncode == 0, shown
    assert shown.splitlines()[-1] == "truth == state: 60/60"
    assert re.fullmatch(r"phantom attempts: 0, merged attempts: \d+", shown.splitlines()[-2])
    for cloud in SYSTEMS:
        told = rf"^{short_name(cloud.removesuffix('-cloud'))} +(\d+|-)  \d\d:\d\d:\d\d  \S+ /\w+  .*succeeded"
        assert re.search(told, shown, re.MULTILINE), shown
    assert not [each for each in psutil.process_iter() if names(each, tmp_path)]


def names(process: psutil.Process, directory: Path) -> bool:
    try:
        return any(str(directory) in argument for argument in process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
