"""The tables of accounts at Tuya's OpenAPI, and what their values must satisfy."""

from __future__ import annotations

from typing import Literal

from bridge.clouds.settings import ApiSettings, Credentials, Report, Values
from consumer.secret import Secret


class TuyaCredentials(Credentials, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cloud project: the same for its gateway and its API."""

    access_id: str
    """The cloud project's Access ID; it may be logged."""
    access_key: Secret
    """The project's Access Secret: decrypts pushes and signs requests."""
    previous_access_key: Secret | None = None
    """The key before the last rotation, for messages that are still on their way."""


class TuyaApi(ApiSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `api` table of such a project."""

    sign_version: Literal["current", "legacy"] = "current"
    """`legacy`: projects made before 2021-06-30 may still sign the old way."""


def check_credentials(path: str, values: Values, report: Report) -> None:
    """The access id is not empty."""
    if values.get("access_id", "given").strip() == "":
        report(f"{path}.access_id", "is empty", "Write the cloud project's Access ID")
