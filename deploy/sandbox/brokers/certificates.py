"""The sandbox's own certificate authority and the one server certificate that all its TLS servers show."""

from __future__ import annotations

from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct


class ServerCertificate(Struct, frozen=True, kw_only=True):
    """PEM files of a certificate (with its chain) and its key."""

    cert_file: Path
    key_file: Path


class Certificates(Struct, frozen=True, kw_only=True):
    """What clients trust, and what servers show for DNS `localhost` and IP 127.0.0.1."""

    ca_file: Path
    server: ServerCertificate


def create_certificates(directory: Path) -> Certificates:
    """Make a new authority and a server certificate, and write them below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="ota-bridge sandbox", key_type=trustme.KeyType.RSA)
    # Both names: clients connect to localhost, and Pulsar's lookups answer with 127.0.0.1.
    issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA)
    ca_file = directory / "ca.pem"
    server = ServerCertificate(cert_file=directory / "server.pem", key_file=directory / "server.key")
    authority.cert_pem.write_to_path(ca_file)
    server.cert_file.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    write_private(server.key_file, _pkcs8(issued.private_key_pem.bytes()))
    return Certificates(ca_file=ca_file, server=server)


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(content)


def _pkcs8(key_pem: bytes) -> bytes:
    """The only form of a PEM key that both Java brokers read."""
    key = load_pem_private_key(key_pem, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
