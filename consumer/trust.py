"""Which certificates the gateway's TLS is verified with, said once for the Pulsar client and the probe; what is wrong

with a certificate that was not accepted, said once for gateways and APIs.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import certifi

from consumer.errors import Misconfigured
from consumer.settings import GatewaySettings

_TLS_SCHEME: Final = "pulsar+ssl"
_DEFAULT_PORTS: Final = {_TLS_SCHEME: 6651, "pulsar": 6650}

_SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)
"""The Pulsar client takes one file, where OpenSSL itself would search a folder."""

_CA_FILE: Final = (
    "set {table}.ca_file to a PEM file of the authority that signed it, and start the bridge again"
)

_CERTIFICATE_PROBLEMS: Final = {
    9: ("is not valid yet", "check this machine's clock"),
    10: ("has expired", "have the server's operator renew it, or check this machine's clock"),
    18: ("signs itself and is not trusted here", _CA_FILE),
    19: ("comes from an authority not trusted here", _CA_FILE),
    20: ("comes from an authority not trusted here", _CA_FILE),
    21: ("comes from an authority not trusted here", _CA_FILE),
    62: ("is for another host name", "correct {table}.url to the name it is for, and start the bridge again"),
    64: (
        "is for another address",
        "correct {table}.url to the host name it is for, and start the bridge again",
    ),
}
"""What is wrong and the remedy, by OpenSSL's X509_V_ERR numbers."""


def certificate_problem(error: ssl.SSLCertVerificationError, *, table: str) -> tuple[str, str]:
    """Return what is wrong with a server's certificate, and the remedy; `table` holds the url and ca_file."""
    unknown = (f"was not accepted ({error.verify_message})", "check {table}.url and {table}.ca_file")
    problem, remedy = _CERTIFICATE_PROBLEMS.get(error.verify_code, unknown)
    return problem, remedy.format(table=table)


def address(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is spoken. Raises Misconfigured for what is no Pulsar service URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in _DEFAULT_PORTS:
        raise Misconfigured(f"{url!r} is no gateway URL: write pulsar+ssl://host:7285")
    return host, port or _DEFAULT_PORTS[parts.scheme], parts.scheme == _TLS_SCHEME


def check_url(settings: GatewaySettings) -> None:
    """Raise Misconfigured for a URL that would send credentials in the clear without anybody having said so."""
    *_, tls = address(settings.url)
    if not tls and settings.tls_verify:
        raise Misconfigured(
            "the gateway URL speaks no TLS: write pulsar+ssl://, or set tls_verify = false for a broker of your own"
        )


def trust_file(settings: GatewaySettings) -> str:
    """Return the PEM file of trusted authorities: the configured one, the system's, or certifi's."""
    if settings.ca_file is not None:
        return settings.ca_file
    system = ssl.get_default_verify_paths().cafile
    found = (path for path in (system, *_SYSTEM_BUNDLES) if path and Path(path).is_file())
    return next(found, None) or certifi.where()


def tls_context(settings: GatewaySettings) -> ssl.SSLContext:
    """Return a context that verifies chain and host name, unless the settings say otherwise by name.

    Raises OSError or ssl.SSLError where the file of authorities cannot be read.
    """
    context = ssl.create_default_context(cafile=trust_file(settings))
    if not settings.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
