"""What is wrong with the address of a gateway or an API, where it cannot be the one that was meant.

An address may be a secret that was pasted in the wrong place, so it is never repeated: no more than its scheme is.
"""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from bridge.typed import typed


class Kind(NamedTuple):
    """Addresses of one kind; `form` is how they are written."""

    safe: str
    unsafe: str
    form: str
    needs_port: bool


GATEWAY: Final = Kind("pulsar+ssl", "pulsar", "pulsar+ssl://host:7285", needs_port=True)
"""Without a port Pulsar's own 6651 would be taken, which no message gateway has."""
API: Final = Kind("https", "http", "https://host, or https://host:port", needs_port=False)


class Mistake(NamedTuple):
    """The first thing that is wrong, and the remedy."""

    what: str
    remedy: str


def mistake_in(url: str, kind: Kind, *, tls_verify: bool) -> Mistake | None:
    """Return what is wrong; None for a usable address."""
    parts = _parts(url)
    write = f"Write {kind.form}"
    if parts is None or not parts.scheme or not parts.netloc:
        return Mistake("is not a complete address", write)
    if parts.scheme not in (kind.safe, kind.unsafe):
        return Mistake(f"begins with {typed(parts.scheme)}://", f"{write}{_hint(parts.scheme)}")
    if parts.username is not None or parts.password is not None:
        return Mistake("carries credentials", f"{write}, nothing else: they have keys of their own")
    if parts.hostname is None:
        return Mistake("is not a complete address", write)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return Mistake("has a path or a query", f"{write}, without a path or a query")
    if kind.needs_port and parts.port is None:
        return Mistake("names no port", f"{write}; 7285 is the port of Tuya's gateways")
    if parts.scheme == kind.unsafe and tls_verify:
        return Mistake(
            f"is not encrypted ({kind.unsafe}://)",
            f"Write {kind.safe}://, or say so by name: tls_verify = false",
        )
    return None


def _hint(scheme: str) -> str:
    """Say where an address of that kind belongs, if it is one of the platform's others."""
    if scheme in ("ws", "wss"):
        return ": the WebSocket of the gateway is not used"
    if scheme in (GATEWAY.safe, GATEWAY.unsafe):
        return ": this one is the gateway's"
    if scheme in (API.safe, API.unsafe):
        return ": this one is the API's"
    return ""


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:
        return None
