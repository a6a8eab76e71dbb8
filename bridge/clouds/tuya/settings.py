"""The tables of accounts at Tuya's OpenAPI, and what their values must satisfy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from bridge.clouds.settings import ApiSettings, Credentials, Report, SecretForm, Values
from consumer.secret import Secret

SHORTEST_ACCESS_KEY: Final = 24
"""Its characters 9 to 24 are the AES key. All that were ever seen have 32, which nobody promises."""


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


def access_key_mistake(text: str) -> tuple[str, str] | None:
    """Return what is wrong with an Access Secret, and the remedy; None for one that can be."""
    remedy = "Copy the whole Access Secret from the project's page in the cloud's console"
    if not text.isascii() or not text.isprintable() or " " in text:
        return "holds characters that no access key has", remedy
    if len(text) < SHORTEST_ACCESS_KEY:
        characters = "1 character" if len(text) == 1 else f"{len(text)} characters"
        return f"has {characters}, and an access key at least {SHORTEST_ACCESS_KEY}", remedy
    return None


SECRET_FORMS: Final[Mapping[str, SecretForm]] = {
    "access_key": access_key_mistake,
    "previous_access_key": access_key_mistake,
}
