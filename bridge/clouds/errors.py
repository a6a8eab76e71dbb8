"""What can go wrong when a cloud is asked: one tree for all clouds, and the table of what is tried again.

* CloudError
  * Mendable - the request is repaired and sent once more
    * TokenRejected - `token`: the access token is missing, unknown or over
    * ClockSkewed - `clock_skew`: the cloud's clock and ours disagree
  * Transient - the same request may succeed later
    * Throttled - `throttled`: too many requests; the whole account pauses
    * Unanswered - `retry`: no usable answer: connection, timeout, 5xx, not JSON, "system error"
  * AccountRefused - the account's circuit opens; a device's status never changes by it
    * Forbidden - `forbidden`: the project may not call this API
    * QuotaExhausted - `quota`: nothing is left of what the plan allows
  * AccountStopped - somebody has to mend it, here or there: the account's API side stops
    * AuthRefused - `auth_fatal`: access id, key or signature refused
    * Misconfigured - `config_fatal`: the deployment cannot be used as configured
  * DeviceRefused - about the one device asked for; everybody else is served
    * DeviceNotFound - `not_found`
    * DeviceForbidden - `forbidden`: this device was not granted to the project
    * DeviceUnsupported - `unsupported`: not asked again for a day
    * DeviceOffline - `device_offline`: not an upgrade failure
  * Misunderstood - we and the cloud do not speak the same language; tried again only with the next lookup
    * BadRequest - `bad_request`: the cloud refused our parameters
    * SchemaMismatch - `schema_error`: JSON, but not what the contract says

The base classes are the decisions a caller makes; the words are the vocabulary of observations, logs and metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from msgspec import Struct

ErrorClass = Literal[
    "token",
    "clock_skew",
    "throttled",
    "retry",
    "quota",
    "forbidden",
    "unsupported",
    "auth_fatal",
    "config_fatal",
    "not_found",
    "bad_request",
    "schema_error",
    "device_offline",
]

NO_REMEDY: Final = "none, it is tried again by itself"

REMEDIES: Final[Mapping[ErrorClass, str]] = {
    "auth_fatal": "correct the account's access_id, access_key_file or api.url, and start the bridge again; what is"
    " mended at the cloud is noticed within the hour",
    "config_fatal": "correct the account's api table, and start the bridge again",
    "forbidden": "subscribe the cloud project to the API, or grant it the devices",
    "quota": "wait for the plan's next period, or extend the plan",
    "retry": "none, it is tried again by itself; if it lasts, check the account's api.url, and that its host can be"
    " reached",
    "token": "none, it is tried again by itself; if it lasts, check whether another program uses the access id",
    "clock_skew": "check the clock of this host",
}
"""What an operator can do, where whoever raises the error knows nothing better."""


class CloudError(Exception):
    """A cloud did not answer what was asked. Holds no secret: only the API's name and the vendor's own words.

    `remedy` is what an operator can do about it, `asked_at_ms` the vendor's clock when the request was sent, where it
    was sent at all.
    """

    error: ClassVar[ErrorClass]

    def __init__(
        self,
        text: str,
        *,
        api: str,
        code: str | None = None,
        trace_id: str | None = None,
        asked_at_ms: int | None = None,
        remedy: str | None = None,
    ) -> None:
        self.text = text
        self.api = api
        self.code = code
        self.trace_id = trace_id
        self.asked_at_ms = asked_at_ms
        self.remedy = remedy or REMEDIES.get(self.error, NO_REMEDY)
        super().__init__(text)

    def not_asked(self) -> CloudError:
        """Return the error of a request that was not even sent, because of this one."""
        return type(self)(
            f"not asked: {self.text}",
            api=self.api,
            code=self.code,
            trace_id=self.trace_id,
            remedy=self.remedy,
        )

    def __str__(self) -> str:
        code = f" (code {self.code})" if self.code is not None else ""
        return f"{self.api}: {self.text}{code}"


class Mendable(CloudError):
    """The request is repaired (new token, new clock offset) and sent once more."""


class TokenRejected(Mendable):
    """The access token was not accepted: a fresh one is fetched."""

    error = "token"


class ClockSkewed(Mendable):
    """The request's time was not accepted: the answer's own time gives the offset."""

    error = "clock_skew"


class Transient(CloudError):
    """The same request may succeed later: it is sent again, as the table below says."""


class Throttled(Transient):
    """Too many requests: the account pauses, as long as the cloud says, else longer each time in a row."""

    error = "throttled"
    pause_s: float | None = None
    """Set by who raises it, where the cloud says how long."""


class Unanswered(Transient):
    """No usable answer came: the connection, a timeout, a 5xx, a page that is not JSON, a busy system."""

    error = "retry"


class AccountRefused(CloudError):
    """The cloud refuses the account for now: its circuit opens."""


class Forbidden(AccountRefused):
    """The project is not subscribed to, or not authorised for, this API."""

    error = "forbidden"


class QuotaExhausted(AccountRefused):
    """The plan's quota is used up."""

    error = "quota"


class AccountStopped(CloudError):
    """Somebody has to mend it, here or at the cloud: the account's API side stops."""


class AuthRefused(AccountStopped):
    """Access id, access key or signature are not accepted."""

    error = "auth_fatal"


class Misconfigured(AccountStopped):
    """The deployment cannot be used as it is configured."""

    error = "config_fatal"


class DeviceRefused(CloudError):
    """The cloud has no answer about this one device."""


class DeviceNotFound(DeviceRefused):
    """The cloud does not know the device."""

    error = "not_found"


class DeviceForbidden(DeviceRefused):
    """The device is not granted to this project; only many of them in a row concern the account."""

    error = "forbidden"


class DeviceUnsupported(DeviceRefused):
    """The device has no such function: it is not asked again for a day."""

    error = "unsupported"


class DeviceOffline(DeviceRefused):
    """The cloud will not answer while the device is offline."""

    error = "device_offline"


class Misunderstood(CloudError):
    """We and the cloud do not speak the same language: nothing is gained by repeating it."""


class BadRequest(Misunderstood):
    """The cloud refused our parameters."""

    error = "bad_request"


class SchemaMismatch(Misunderstood):
    """The answer is JSON, but not what the contract says."""

    error = "schema_error"


class RetryRule(Struct, frozen=True, kw_only=True):
    """How often a request is sent in all, and how long is waited before the second time; doubled for each later one."""

    tries: int = 1
    first_wait_s: float = 0.0
    most_wait_s: float = 0.0


RETRIES: Final[Mapping[ErrorClass, RetryRule]] = {
    # Only requests that change nothing are repeated. 0.5 and 1 s bridge a restarting server or a dropped connection;
    # what lasts longer is the circuit's and the next lookup's business.
    "retry": RetryRule(tries=3, first_wait_s=0.5, most_wait_s=4.0),
    # Waiting is the account's pause (`Pace`), 1 s doubling to 60 s: all its requests wait, not only this one.
    "throttled": RetryRule(tries=6),
}
"""Errors that are not listed are not tried again. Mending (token, clock) is no retry: once each per request."""
