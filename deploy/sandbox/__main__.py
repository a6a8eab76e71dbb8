"""`make sandbox`: brokers and simulated clouds in the foreground, without a bridge, until interrupted."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from deploy.sandbox.interruption import run_until_interrupted
from deploy.sandbox.supervisor import DEMO_ACCOUNT, PROJECT, Sandbox


def main() -> int:
    """Run the sandbox; 0 after Ctrl-C or SIGTERM, 1 with one clear message when it cannot run or go on."""
    parser = argparse.ArgumentParser(prog="python -m deploy.sandbox", description=__doc__)
    parser.add_argument("--directory", type=Path, default=PROJECT / "build", help="where its files go")
    directory = parser.parse_args().directory
    exit_code, signal_number = run_until_interrupted("sandbox", _serve(directory))
    if signal_number is not None:
        _say(f"Sandbox ended ({signal_number.name}).")
        return 0
    return exit_code


async def _serve(directory: Path) -> int:
    began = time.monotonic()
    _say("Starting Pulsar, Kafka and the simulated clouds ...")
    async with Sandbox(directory, announce=_say) as sandbox:
        _say(f"The sandbox is up ({time.monotonic() - began:.1f} s).\n\n{_introduction(sandbox)}\n")
        await sandbox.watch()
    return 0


def _introduction(sandbox: Sandbox) -> str:
    about = sandbox.description
    rows = [
        ("Pulsar", about["pulsar"]["tls_url"]),
        ("Kafka", about["kafka"]["bootstrap_servers"]),
        ("control API", about["control_url"]),
    ]
    rows += [
        (name, ", ".join([account["cloud"], *_access_id(account), account["rest_url"]]))
        for name, account in about["accounts"].items()
    ]
    account = DEMO_ACCOUNT
    config = about["config_file"]
    campaign = f'{{"account": "{account}", "devices": 200, "rate_per_s": 10, "seed": 1}}'
    topic = about["accounts"][account]["topic"].replace("://", "/")
    admin = about["pulsar"]["admin"]
    subscribe = (
        f"curl -X PUT -u {admin['username']}:{admin['password']}"
        f" {about['pulsar']['admin_url']}/admin/v2/{topic}/subscription/listening"
    )
    commands = (
        ("start a bridge", f".venv/bin/ota-bridge run -c {config}"),
        ("follow its events", f".venv/bin/ota-bridge events -c {config}"),
        ("upgrade a fleet", f"curl -d '{campaign}' {about['control_url']}/campaigns"),
        ("see the pushes", subscribe),
        ("", f".venv/bin/ota-bridge listen -c {config} --account {account} --subscription listening"),
    )
    lines = [f"  {name:<12} {value}" for name, value in rows]
    lines += ["", f"  Everything a program needs to know is in {sandbox.description_file}.", ""]
    lines += [f"  {name + ':' if name else '':<19}{command}" for name, command in commands]
    lines += ["", "  Ctrl-C ends it; nothing is kept."]
    return "\n".join(lines)


def _access_id(account: Mapping[str, str]) -> list[str]:
    """What a Tuya project is known by; the other clouds' credentials are in the file alone."""
    return [f"access id {account['access_id']}"] if "access_id" in account else []


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
