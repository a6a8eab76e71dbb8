"""The tables of an account at EnOS, and what their values must satisfy."""

from __future__ import annotations

import re
from typing import Final

from bridge.clouds.enos.expression import is_quotable
from bridge.clouds.settings import ApiSettings, Credentials, Report, Values
from consumer.secret import Secret

PAGE_MOST: Final = 200
"""The largest page that EnOS gives."""

_VERSION: Final = re.compile(r"v\d+(\.\d+)*")


class EnosCredentials(Credentials, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An application's service account, and the organization whose devices it asks about."""

    app_key: str
    """The application's access key; it may be logged."""
    app_secret: Secret
    """The application's secret key: fetches tokens and signs requests."""
    org_id: str
    """The organization that the devices belong to."""


class EnosApi(ApiSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `api` table of such an account."""

    rate_per_s: float = 5.0
    """Requests a second to this account's API, all calls together."""
    path_version: str = "v2.1"
    """The version in the paths of the Connection Service."""
    product_keys: tuple[str, ...] = ()
    """Products whose devices are asked about; all that the service account may see when empty."""
    page_size: int = 50
    """Devices or tasks in one answer, at most 200; EnOS recommends no more than 50."""
    timed_out_words: tuple[str, ...] = ("timeout", "timed out", "time out", "超时")
    """A failed task whose `desc` has one of these timed out; EnOS has no status for it."""


def check_credentials(path: str, values: Values, report: Report) -> None:
    """Ids are not empty."""
    if not values.get("app_key", "given").strip():
        report(f"{path}.app_key", "is empty", "Write the application's access key as EnOS's console shows it")
    if not values.get("org_id", "given").strip():
        report(f"{path}.org_id", "is empty", "Write the organization's id as EnOS's console shows it")


def check_api(path: str, values: Values, report: Report) -> None:
    """What goes into paths, expressions and pages is what EnOS takes there."""
    if not _VERSION.fullmatch(values.get("path_version", "v2.1")):
        report(
            f"{path}.path_version", "is no version", 'Write it as it stands in the API\'s paths, like "v2.1"'
        )
    if not 1 <= values.get("page_size", 1) <= PAGE_MOST:
        report(f"{path}.page_size", f"is not 1 to {PAGE_MOST}", "EnOS recommends no more than 50")
    if not all(is_quotable(key) for key in values.get("product_keys", ())):
        report(
            f"{path}.product_keys",
            "has a key that is empty or holds a quotation mark or a backslash",
            "Write the product keys as EnOS's console shows them",
        )
    if not all(word.strip() for word in values.get("timed_out_words", ())):
        report(
            f"{path}.timed_out_words", "has an empty text", "Remove it: it would stand in every description"
        )
