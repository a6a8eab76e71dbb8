"""`ota-bridge config example` and `ota-bridge check-config`."""

from __future__ import annotations

from bridge.cli.options import DEFAULT_CONFIG, ConfigFile
from bridge.config import load, reference


def example() -> None:
    """Print a complete configuration file to start from: required keys set, all others shown with their defaults."""
    print(reference.example(), end="")


def check(*, config: ConfigFile = DEFAULT_CONFIG) -> None:
    """Read the configuration as `run` would, without any network, and tell every mistake in it at once."""
    configuration = load(config)
    print(f"{config} is fine. Accounts: {', '.join(configuration.account_names())}.")
    for warning in configuration.warnings:
        print(f"Note: {warning}.")
