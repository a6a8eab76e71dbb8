"""The configuration: one TOML file, environment variables over it, every mistake told at once.

Only the daemon and the command line import this package; the stages get their own settings structs from it.
"""

from __future__ import annotations

from bridge.config.gateway import ListenedGateway, load_gateway
from bridge.config.load import Account, load, load_accounts, load_kafka
from bridge.config.problems import ConfigurationError, Problem
from bridge.config.settings import Configuration, EventSettings, HttpSettings, LogSettings

__all__ = [
    "Account",
    "Configuration",
    "ConfigurationError",
    "EventSettings",
    "HttpSettings",
    "ListenedGateway",
    "LogSettings",
    "Problem",
    "load",
    "load_accounts",
    "load_gateway",
    "load_kafka",
]
