"""The tables of accounts at Hedwig, and what their values must satisfy."""

from __future__ import annotations

from typing import Literal

from bridge.clouds.settings import ApiSettings, Credentials, Report, Values
from consumer.secret import Secret


class HedwigCredentials(Credentials, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An access key of the instance."""

    access_key_id: str
    """The AccessKey ID; it may be logged."""
    access_key_secret: Secret
    """The AccessKey Secret: signs requests."""


class HedwigApi(ApiSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `api` table of such an account."""

    rate_per_s: float = 5.0
    """Requests a second to this account's API, all calls together."""
    common_params: Literal["full", "minimal"] = "full"
    """`minimal` sends no Format, Version and SignatureVersion, as the vendor's sample request does."""
    api_version: Literal["2018-01-20", "2022-01-01"] = "2018-01-20"
    """The `Version` that is asked for."""
    firmware_ids: tuple[str, ...] = ()
    """Packages whose jobs are swept and listed; empty takes all of the account's."""
    jobs_per_lookup: int = 10
    """How many finished jobs that no sweep has read yet a lookup searches, the newest first; a request each."""
    download_products: tuple[str, ...] = ()
    """ProductKeys whose devices report the download's per cent: IN_PROGRESS below 100 is `downloading` there."""
    timeout_words: tuple[str, ...] = ("timeout", "timed out", "time out", "超时")
    """A failed task whose description holds one of them, in whichever case, is `timed_out`."""


def check_credentials(path: str, values: Values, report: Report) -> None:
    """The key's id is not empty."""
    if values.get("access_key_id", "given").strip() == "":
        report(f"{path}.access_key_id", "is empty", "Write the instance's AccessKey ID")


def check_api(path: str, values: Values, report: Report) -> None:
    """At least one job is searched, and no list has an empty text, which every description would hold."""
    if values.get("jobs_per_lookup", 1) < 1:
        report(f"{path}.jobs_per_lookup", "is less than 1", "Let at least the newest job be searched")
    for key in ("firmware_ids", "download_products", "timeout_words"):
        if any(not text.strip() for text in values.get(key, ())):
            report(f"{path}.{key}", "has an empty text", "Leave it out")
