"""The sandbox's own certificate authority, the one certificate that all its TLS servers show, and a client's."""

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


class CertificateFiles(Struct, frozen=True, kw_only=True):
    """PEM files of a certificate (with its chain) and its key."""

    cert_file: Path
    key_file: Path


class Certificates(Struct, frozen=True, kw_only=True):
    """What clients trust, and what servers show for DNS `localhost` and IP 127.0.0.1."""

    ca_file: Path
    server: CertificateFiles
    client: CertificateFiles
    """What the bridge shows to a server that asks for a certificate."""


def create_certificates(directory: Path) -> Certificates:
    """Make a new authority and a server certificate, and write them below `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="ota-bridge sandbox", key_type=trustme.KeyType.RSA)
    # Both names: clients connect to localhost, and Pulsar's lookups answer with 127.0.0.1.
    issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.RSA)
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    shown = authority.issue_cert("ota-bridge.sandbox", key_type=trustme.KeyType.RSA)
    return Certificates(
        ca_file=ca_file,
        server=_written(issued, directory / "server.pem", directory / "server.key"),
        client=_written(shown, directory / "client.pem", directory / "client.key"),
    )


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from its first byte on."""
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_bytes(content)


def _written(issued: trustme.LeafCert, cert_file: Path, key_file: Path) -> CertificateFiles:
    cert_file.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    write_private(key_file, _pkcs8(issued.private_key_pem.bytes()))
    return CertificateFiles(cert_file=cert_file, key_file=key_file)


def _pkcs8(key_pem: bytes) -> bytes:
    """The only form of a PEM key that both Java brokers read."""
    key = load_pem_private_key(key_pem, password=None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
