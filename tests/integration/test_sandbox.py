"""`make sandbox` tells others where everything is while it runs, and leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bridge.config import load
from deploy.sandbox.supervisor import PROJECT

READY_WITHIN_S = 100.0
"""On a calm machine 8; on one with thirty runnable processes Kafka alone was seen to take 31."""
GONE_WITHIN_S = 15.0


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "build"
    for process in processes_of(tmp_path):
        process.kill()


@pytest.fixture
def make(tmp_path: Path, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`make sandbox` with the recipe of the project's Makefile, and files of its own."""
    (tmp_path / "Makefile").write_text(
        f"sandbox:\n\t{sys.executable} -m deploy.sandbox --directory {directory}\n", encoding="utf-8"
    )
    program = shutil.which("make")
    assert program is not None
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [program, "-s", "-f", str(tmp_path / "Makefile"), "sandbox"],
            cwd=PROJECT,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()


def processes_of(directory: Path) -> list[psutil.Process]:
    """Everything alive that names a file below `directory` on its command line; zombies run nothing."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and any(str(directory) in argument for argument in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True


async def description_of(directory: Path) -> dict[str, Any]:
    file = directory / "sandbox.json"
    assert await until(file.exists, READY_WITHIN_S), (directory.parent / "output").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def kill_make(make: subprocess.Popen[bytes], _directory: Path) -> None:
    make.kill()


def kill_the_supervisor(_make: subprocess.Popen[bytes], directory: Path) -> None:
    (supervisor,) = [each for each in processes_of(directory) if "deploy.sandbox" in each.cmdline()]
    supervisor.kill()


def press_ctrl_c(make: subprocess.Popen[bytes]) -> None:
    os.killpg(make.pid, signal.SIGINT)


@pytest.mark.parametrize("end", [kill_make, kill_the_supervisor])
async def test_nothing_is_left_running_however_it_ends(
    make: subprocess.Popen[bytes], directory: Path, end: Callable[[subprocess.Popen[bytes], Path], None]
) -> None:
    about = await description_of(directory)
    assert psutil.pid_exists(about["pid"])
    assert len([each for each in processes_of(directory) if "java" in each.name()]) == 2

    end(make, directory)

    await nothing_is_left(directory, files=end is kill_the_supervisor)


async def nothing_is_left(directory: Path, *, files: bool = False) -> None:
    """No process; where it could still remove them, no files either."""
    assert await until(lambda: not processes_of(directory), GONE_WITHIN_S), processes_of(directory)
    assert (directory / "sandbox.json").exists() == files
    assert (directory / "ota-bridge.toml").exists() == files


async def test_what_it_writes_leads_to_everything_it_runs_until_ctrl_c(
    make: subprocess.Popen[bytes], directory: Path
) -> None:
    about = await description_of(directory)

    for address in (
        about["pulsar"]["url"],
        about["pulsar"]["tls_url"],
        about["pulsar"]["admin_url"],
        f"kafka://{about['kafka']['bootstrap_servers']}",
        f"kafka://{about['kafka']['sasl_ssl']['bootstrap_servers']}",
        about["control_url"],
        about["accounts"]["tuya-demo"]["rest_url"],
    ):
        url = httpx.URL(address)
        with socket.create_connection((url.host, url.port or 0), timeout=5):
            pass
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{about['control_url']}/truth")).is_success
    configuration = load(Path(about["config_file"]), environment={})
    assert configuration.kafka.bootstrap_servers == about["kafka"]["bootstrap_servers"]
    assert stat.S_IMODE((directory / "sandbox.json").stat().st_mode) == 0o600

    # A second one would take the files of the first away; it says so and touches nothing.
    second = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.sandbox",
        "--directory",
        str(directory),
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    _, errors = await second.communicate()
    assert second.returncode == 1
    assert "stop that one first" in errors.decode()
    assert await description_of(directory) == about
    assert make.poll() is None

    press_ctrl_c(make)
    await nothing_is_left(directory)
