"""The tables of accounts at Huawei's IoT platform (OceanConnect), and what their values must satisfy."""

from __future__ import annotations

from bridge.clouds.settings import ApiSettings, Credentials, Report, Values
from consumer.secret import Secret


class OceanConnectCredentials(Credentials, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application at the platform. No other program may log in with it: each login ends the one before."""

    app_id: str
    """The application's id (`appId`, `app_key`); it may be logged."""
    secret: Secret
    """The application's secret: logs in."""


class OceanConnectApi(ApiSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `api` table of such an application."""

    rate_per_s: float = 1.5
    """Requests a second to this account's API, all calls together; the platform allows 100 a minute."""


def check_credentials(path: str, values: Values, report: Report) -> None:
    """The application's id is not empty."""
    if values.get("app_id", "given").strip() == "":
        report(f"{path}.app_id", "is empty", "Write the application's id as the platform's console shows it")
