"""What the sandbox starts dies with it, and the small things that brokers are started with are right."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from deploy.sandbox.brokers.htpasswd import apr1
from deploy.sandbox.brokers.ports import free_ports
from deploy.sandbox.brokers.process import Child

PROJECT = Path(__file__).parents[3]

PARENT = """
import sys, time
from pathlib import Path
from deploy.sandbox.brokers import parent
from deploy.sandbox.brokers.process import Child
if sys.argv[2] != sys.platform:
    # The script that ties the child, as it runs on another system.
    script = Path(sys.argv[1]).with_name("tied.py")
    script.write_text(
        "import runpy, sys\\n"
        f"sys.platform = {sys.argv[2]!r}\\n"
        f"runpy.run_path({parent.__file__!r}, run_name='__main__')\\n"
    )
    parent.__file__ = str(script)
child = Child("child", ["sleep", "600"], log_file=Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("platform", ["linux", "darwin"])
async def test_a_child_dies_with_a_parent_that_is_killed(platform: str, tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path / "log"), platform, cwd=PROJECT, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await parent.stdout.readline())
    while runs(child) and psutil.Process(child).name() != "sleep":
        await asyncio.sleep(0.01)
    assert runs(child)
    tying = psutil.Process(child).children()
    assert len(tying) == (platform != "linux")

    parent.kill()
    await parent.wait()

    deadline = time.monotonic() + 10
    started = [child, *(process.pid for process in tying)]
    while any(map(runs, started)) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not any(map(runs, started))


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    log_file = tmp_path / "log"
    stubborn = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.01; done"]
    child = Child("stubborn", stubborn, log_file=log_file)
    while "ready" not in log_file.read_text(encoding="utf-8"):
        await asyncio.sleep(0.01)

    assert await child.stop(grace_s=0.05) == -9


async def test_a_failed_childs_error_ends_with_its_last_words(tmp_path: Path) -> None:
    child = Child("broker", ["sh", "-c", "echo no space left; exit 3"], log_file=tmp_path / "log")

    assert await child.wait() == 3
    assert str(child.failed("ended")).endswith("no space left")


@pytest.mark.parametrize(
    ("password", "salt", "hashed"),
    [
        # Made by `openssl passwd -apr1 -salt SALT PASSWORD`.
        ("secret-pass-word-long-1", "abcdefgh", "$apr1$abcdefgh$b/qcRaVmBlw9m5v1rLpJK0"),
        ("x", "q1", "$apr1$q1$eB8oxUE/xUs.3jI3BOYKm/"),
    ],
)
def test_passwords_are_hashed_as_apache_does(password: str, salt: str, hashed: str) -> None:
    assert apr1(password, salt) == hashed


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    lowest_outgoing = int(
        Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0]
    )

    ports = free_ports(8)

    assert len(set(ports)) == 8
    assert max(ports) < lowest_outgoing
