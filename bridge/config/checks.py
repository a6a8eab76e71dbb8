"""What a value must satisfy beyond its type, and what the values of a table must satisfy together."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge.clouds.kind import CloudKind
from bridge.clouds.registry import CLOUDS
from bridge.clouds.settings import AnyAccount, Check, Report, Values
from bridge.config.addresses import API, GATEWAY, Kind, mistake_in
from bridge.config.settings import HttpSettings
from bridge.error_text import error_text
from bridge.typed import typed
from consumer.settings import GatewayAccount

EVENT_TYPES: Final = (
    "ota.upgrade.baseline",
    "ota.upgrade.status_changed",
    "ota.upgrade.progressed",
    "ota.upgrade.stalled",
    "ota.upgrade.resumed",
    "ota.upgrade.version_changed",
    "ota.device.removed",
    "ota.device.returned",
)

_SERVER: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,/]+):([0-9]{1,5})")
PREFIX: Final = re.compile(r"[a-zA-Z0-9._-]{1,100}")
_CHANNEL: Final = re.compile(r"event|event-test|notice|(persistent://)?[^/:\s]+/[^/:\s]+/[^/:\s]+")
"""A channel of the account's own, or a topic's full name."""


MAY_BE_ZERO: Final = frozenset({"clock_margin_s", "jitter_s", "progress_step", "filter_protocols"})
"""Every other number is a time, a size or a rate that stops or spins something when it is zero."""

LEAST: Final[Mapping[str, int]] = {"receive_ahead_messages": 100, "session_timeout_s": 6}
"""A topic's source partitions share what is received ahead, some eleven of them: with less each entry waits for a
question of its own. The session timeout's is the brokers' default of `group.min.session.timeout.ms`."""
HIGHEST_PORT: Final = 65535
HIGHEST_PERCENT: Final = 100
MOST: Final[Mapping[str, int]] = {
    "session_timeout_s": 30 * 60,
    "transaction_timeout_s": 15 * 60,
    "progress_fall_points": HIGHEST_PERCENT,
}
"""The brokers' defaults of `group.max.session.timeout.ms` and `transaction.max.timeout.ms`: they refuse what is above,
and then nothing is ever folded. Progress is in per cent: it cannot fall by more."""
LONGEST_S: Final = 10 * 365 * 86_400
"""Of every other time. Ten years are as good as for ever, and a time so much later is still one that a record holds."""


def check_kafka(path: str, values: Values, report: Report) -> None:
    """Brokers, names, and that protection and credentials fit together."""
    check_numbers(path, values, report)
    servers = [server.strip() for server in values.get("bootstrap_servers", "x:1").split(",")]
    if not all(_is_server(server) for server in servers):
        report(
            f"{path}.bootstrap_servers", "is not a list of brokers", "Write host:port, several with commas"
        )
    if not PREFIX.fullmatch(values.get("prefix", "ota")):
        report(
            f"{path}.prefix", "cannot begin a topic's name", "Use 1 to 100 of a-z, A-Z, 0-9, '.', '_', '-'"
        )
    security = values.get("security")
    if security is None:
        return
    for key, name in (("username", "username"), ("password", "password_file")):
        if security.startswith("sasl") and values.get(key, "mistaken") is None:
            report(f"{path}.{name}", f"is missing with security = {security!r}", "Set it")
        elif not security.startswith("sasl") and values.get(key) is not None:
            report(
                f"{path}.{name}",
                f"has no effect with security = {security!r}",
                "Set kafka.security to 'sasl_ssl' or 'sasl_plaintext', or leave it out",
            )
    if values.get("ca_file") is not None and security not in ("ssl", "sasl_ssl"):
        report(
            f"{path}.ca_file",
            f"has no effect with security = {security!r}",
            "Set kafka.security to 'ssl' or 'sasl_ssl', or leave it out",
        )
    else:
        check_authorities(path, values, report)


def _is_server(text: str) -> bool:
    parts = _SERVER.fullmatch(text)
    return parts is not None and 0 < int(parts[2]) <= HIGHEST_PORT


def check_authorities(path: str, values: Values, report: Report) -> None:
    """The file of trusted authorities holds certificates: a connection would fail with it for ever."""
    ca_file = values.get("ca_file")
    if ca_file is None:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError:
        pass
    except OSError as error:
        report(
            f"{path}.ca_file",
            f"names {ca_file}, which cannot be read: {error.strerror}",
            "Check the file and its permissions",
        )
        return
    if context.cert_store_stats()["x509"] == 0:
        report(
            f"{path}.ca_file",
            f"names {ca_file}, which is not a PEM file of certificates",
            "Name a file of -----BEGIN CERTIFICATE----- blocks, or leave it out to trust the system's authorities",
        )


def check_http(path: str, values: Values, report: Report) -> None:
    """The port's range."""
    if not 0 <= values.get("port", 0) <= HIGHEST_PORT:
        report(f"{path}.port", "is not a port", f"Use 0 (any free one) to {HIGHEST_PORT}")


def check_events(path: str, values: Values, report: Report) -> None:
    """Event types exist; the step is in per cent."""
    for key in ("include", "exclude"):
        for unknown in [kind for kind in values.get(key, ()) if kind not in EVENT_TYPES]:
            report(
                f"{path}.{key}", f"names no event type: {unknown}", f"Use some of {', '.join(EVENT_TYPES)}"
            )
    if not 0 <= values.get("progress_step", 0) <= HIGHEST_PERCENT:
        report(f"{path}.progress_step", "is not a step in per cent", "Use 0 (none) to 100")


def check_policy(path: str, values: Values, report: Report) -> None:
    """Times are positive, and the lookups after a claim come one after the other."""
    check_numbers(path, values, report)
    lookups = list(values.get("claim_lookups_s", ()))
    if lookups != sorted(set(lookups)):
        report(f"{path}.claim_lookups_s", "does not rise", "Write rising times, such as [3.5, 7.0, 15.0]")


def check_cloud(path: str, values: Values, report: Report) -> None:
    """The account's cloud is one that this version speaks to."""
    cloud = values.get("cloud")
    if cloud is not None and cloud not in CLOUDS:
        report(
            f"{path}.cloud",
            f"names no supported cloud: {typed(cloud)}",
            f"Use {' or '.join(CLOUDS)}; nothing else of this account was checked",
        )


def check_gateway(path: str, values: Values, report: Report) -> None:
    """An address that verifies TLS unless that was switched off by name, channels, a subscription of its own."""
    check_numbers(path, values, report)
    check_authorities(path, values, report)
    _check_url(path, values, GATEWAY, report)
    topics = values.get("topics", ("event",))
    wrong = [typed(topic) for topic in topics if not _CHANNEL.fullmatch(topic)]
    if wrong or not topics:
        report(
            f"{path}.topics",
            f"does not name channels of the account: {', '.join(wrong)}" if wrong else "names no channel",
            "Use event, event-test or notice, or a topic's full name such as persistent://tenant/out/event",
        )
    if len({topic.rsplit("/", 1)[-1] for topic in topics}) < len(topics):
        report(
            f"{path}.topics",
            "names a channel twice",
            "Name each channel once; topics of other tenants need names that differ in their last part",
        )
    if values.get("subscription", "given").strip() == "":
        report(f"{path}.subscription", "is empty", "Name a subscription that no other program uses")
    if 0 < values.get("retention_s", 0) <= values.get("retention_margin_s", 0) <= LONGEST_S:
        report(f"{path}.retention_margin_s", "is not below retention_s", "Use a part of it, such as 600")


def check_api_of(kind: CloudKind[Any, Any]) -> Check:
    """Return the checks of an `api` table: every cloud's, then this one's."""

    def check(path: str, values: Values, report: Report) -> None:
        check_api(path, values, report)
        kind.check_api(path, values, report)

    return check


def check_api(path: str, values: Values, report: Report) -> None:
    """An address that verifies TLS unless that was switched off by name; discovery has what it reads."""
    check_numbers(path, values, report)
    check_client_certificate(path, values, report)
    check_authorities(path, values, report)
    _check_url(path, values, API, report)
    if values.get("discovery") == "file" and values.get("discovery_file", "mistaken") is None:
        report(
            f"{path}.discovery_file",
            "is missing with discovery = 'file'",
            "Name a file, one device id a line",
        )


def check_client_certificate(path: str, values: Values, report: Report) -> None:
    """Certificate and key belong together."""
    cert_file, key_file = values.get("client_cert_file"), values.get("client_key_file")
    for here, there in (("client_cert_file", "client_key_file"), ("client_key_file", "client_cert_file")):
        if values.get(here) is not None and values.get(there, "mistaken") is None:
            report(f"{path}.{there}", f"is missing with {here}", "Name both, or neither")
    if cert_file is None or key_file is None:
        return
    try:
        # An empty password, so that a key that has one is a mistake and not a question at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, password="")
    except (OSError, ssl.SSLError) as error:
        report(
            f"{path}.client_cert_file",
            f"cannot be used with client_key_file: {error_text(error)}",
            "Name the PEM files of a certificate and of its own key, the key without a password",
        )


def check_subscriptions(gateways: Sequence[GatewayAccount], report: Report) -> None:
    """No two accounts take partitions from each other."""
    owners: dict[tuple[str, str, str], str] = {}
    for account in gateways:
        subscription = (account.gateway.url, account.access_id, account.gateway.subscription)
        owner = owners.setdefault(subscription, account.name)
        if owner != account.name:
            report(
                f"accounts.{account.name}.gateway.subscription",
                f"is the one of accounts.{owner}",
                "Make another subscription, or keep one of the two accounts",
            )


def warnings(
    http: HttpSettings, gateways: Sequence[GatewayAccount], apis: Sequence[AnyAccount]
) -> tuple[str, ...]:
    """Return the protections that are switched off, each by the name of its key."""
    found = [
        f"accounts.{account.name}.gateway.tls_verify = false: anyone on the way can read and change its messages"
        for account in gateways
        if not account.gateway.tls_verify
    ]
    found += [
        f"accounts.{account.name}.gateway.sign_policy = 'warn': messages with a wrong signature are taken"
        for account in gateways
        if account.gateway.sign_policy == "warn"
    ]
    found += [
        f"accounts.{account.name}.api.tls_verify = false: anyone on the way can read and change its answers"
        for account in apis
        if not account.api.tls_verify
    ]
    found += [
        f"accounts.{account.name}.api.verify_hostname = false: the API's certificate may be for another host"
        for account in apis
        if not account.api.verify_hostname
    ]
    if http.host not in ("127.0.0.1", "::1", "localhost"):
        found.append(f"http.host = {http.host!r}: the pages have no login")
    return tuple(found)


def check_numbers(path: str, values: Values, report: Report) -> None:
    """Numbers are positive, but for the few that mean something at zero, and within what some are limited to."""
    for key, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if not isinstance(number, int | float) or isinstance(number, bool):
                continue
            if number < LEAST.get(key, 0) or (number == 0 and key not in MAY_BE_ZERO):
                report(f"{path}.{key}", "is too small", _enough(key))
                break
            if number > _most(key):
                report(f"{path}.{key}", "is too large", f"Use {_most(key)} or less")
                break


def _most(key: str) -> float:
    is_time = key.endswith("_s") and not key.endswith("_per_s")
    return MOST.get(key, LONGEST_S if is_time else math.inf)


def _enough(key: str) -> str:
    if key in LEAST:
        return f"Use {LEAST[key]} or more"
    return "Use 0 or more" if key in MAY_BE_ZERO else "Use more than 0"


def _check_url(path: str, values: Values, kind: Kind, report: Report) -> None:
    if "url" not in values:
        return
    mistake = mistake_in(values["url"], kind, tls_verify=values.get("tls_verify", True))
    if mistake is not None:
        report(f"{path}.url", mistake.what, mistake.remedy)
