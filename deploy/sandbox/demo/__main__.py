"""The command behind `make demo`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from deploy.sandbox.demo.fleet import FEWEST
from deploy.sandbox.demo.screen import Screen
from deploy.sandbox.demo.story import Demo, DemoOrder
from deploy.sandbox.interruption import run_until_interrupted
from deploy.sandbox.supervisor import PROJECT


def main() -> int:
    """Run the demo; 0 when state equals truth for all devices, 1 when not, 128 + signal when interrupted."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.sandbox.demo",
        description="Upgrade a fleet of all simulated clouds and watch the real bridge tell it.",
    )
    parser.add_argument("--devices", type=int, default=200, help="of all clouds together")
    parser.add_argument("--rate-per-s", type=float, default=20.0, help="upgrades started each second")
    parser.add_argument("--push-drop", type=float, default=0.1, help="share of pushes that get lost")
    parser.add_argument("--seed", type=int, default=1, help="the same seed, the same upgrades")
    parser.add_argument("--all", action="store_true", help="show progress events as well")
    parser.add_argument(
        "--directory", type=Path, default=PROJECT / "build" / "demo", help="where its files go"
    )
    arguments = parser.parse_args()
    if arguments.devices < FEWEST:
        parser.error(f"--devices: {FEWEST} clouds need at least one each")
    order = DemoOrder(
        directory=arguments.directory.absolute(),
        devices=arguments.devices,
        rate_per_s=arguments.rate_per_s,
        push_drop=arguments.push_drop,
        seed=arguments.seed,
    )
    demo = Demo(order, Screen(all_events=arguments.all), began)
    exit_code, signal_number = run_until_interrupted("demo", demo.run())
    if signal_number is not None:
        print(f"\nDemo interrupted ({signal_number.name}); nothing is left running.", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
