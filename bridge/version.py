"""The one place of the version: the package, `ota-bridge version` and `/status` read it here."""

VERSION = "0.1.0"
