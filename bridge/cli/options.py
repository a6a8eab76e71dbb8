"""Options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

ConfigFile = Annotated[
    Path,
    Parameter(
        name=["--config", "-c"],
        env_var="OTA_BRIDGE_CONFIG",
        help="Configuration file; `ota-bridge config example` prints one.",
    ),
]

AsJson = Annotated[
    bool | None,
    Parameter(
        name="--json", help="JSON instead of text for people; the default where the output is no terminal."
    ),
]

DEFAULT_CONFIG: Final = Path("ota-bridge.toml")

KEY_VARIABLE: Final = "OTA_BRIDGE_ACCESS_KEY"
"""Holds an Access Secret for the commands that work without a configuration."""


def wants_json(as_json: bool | None) -> bool:  # noqa: FBT001  it is the value of an option
    """Whether to write JSON: as asked, else where nobody watches a terminal."""
    return not sys.stdout.isatty() if as_json is None else as_json
