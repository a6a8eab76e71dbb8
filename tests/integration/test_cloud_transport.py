"""The transport against a real server: certificates, deadlines, caps, and the very bytes on the wire."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
import trustme

from bridge.clouds import errors
from bridge.clouds.settings import ApiSettings
from bridge.clouds.transport import HttpTransport
from bridge.clouds.wire import Answer, Request

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def plainly(writer: asyncio.StreamWriter) -> None:
    writer.write(OK)
    await writer.drain()


class Server:
    """Speaks just enough HTTP to see requests as they arrive and to answer as badly as a test wants."""

    def __init__(self, ca: trustme.CA, host: str = "localhost") -> None:
        self.received: list[bytes] = []
        self.respond: Respond = plainly
        self.port = 0
        self._certificate = ca.issue_cert(host)
        self.clients_of: trustme.CA | None = None
        """With it, only who shows a certificate of this authority is served."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Server]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate.configure_cert(context)
        if self.clients_of is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            self.clients_of.configure_trust(context)
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.received.append(await reader.readuntil(b"\r\n\r\n"))
            await self.respond(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    return str(file)


@asynccontextmanager
async def connected(server: Server, ca_file: str | None, **api: Any) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(
        ApiSettings(**{"url": f"https://localhost:{server.port}", "ca_file": ca_file} | api)
    )
    try:
        yield transport
    finally:
        await transport.close()


def get(target: str = "/") -> Request:
    return Request(api="test", method="GET", target=target, headers={"client_id": "id", "sign": "SIGNATURE"})


async def sent(server: Server, ca_file: str | None, request: Request | None = None, **api: Any) -> Answer:
    async with connected(server, ca_file, **api) as transport:
        return await transport.send(request or get())


async def failure(server: Server, ca_file: str | None, **api: Any) -> errors.CloudError:
    with pytest.raises(errors.CloudError) as caught:
        await sent(server, ca_file, **api)
    return caught.value


async def test_the_target_goes_out_as_it_was_signed(ca: trustme.CA, ca_file: str) -> None:
    target = "/v2.0/cloud/thing/a%2Fb%20%7e/../x//firmware?b=%E7%81%AF&a=1%261"
    async with Server(ca).running() as server:
        answer = await sent(server, ca_file, get(target))

    assert server.received[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())
    assert b"\r\nclient_id: id\r\n" in server.received[0]
    assert b"\r\naccept-encoding: identity\r\n" in server.received[0].lower()
    assert (answer.status, answer.body) == (200, b"{}")


async def test_a_certificate_of_another_authority_is_refused(ca: trustme.CA, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    async with Server(ca).running() as server:
        error = await failure(server, str(other))

    assert isinstance(error, errors.Unanswered)
    assert "not trusted" in error.text
    assert "the account's api.ca_file" in error.remedy
    assert server.received == []


async def test_the_systems_authorities_are_asked_where_no_file_is_named(ca: trustme.CA) -> None:
    async with Server(ca).running() as server:
        error = await failure(server, None)

    assert f"localhost:{server.port}" in error.text
    assert "not trusted" in error.text
    assert "ca_file" in error.remedy
    assert "none" not in error.remedy


async def test_a_certificate_for_another_host_is_refused(ca: trustme.CA, ca_file: str) -> None:
    async with Server(ca, "example.test").running() as server:
        error = await failure(server, ca_file)

    assert "for another host name" in error.text
    assert "api.url" in error.remedy
    assert server.received == []


async def test_only_by_name_is_a_certificate_not_verified_and_that_is_logged(ca: trustme.CA) -> None:
    async with Server(ca, "example.test").running() as server:
        with structlog.testing.capture_logs() as logs:
            answer = await sent(server, None, tls_verify=False)

    assert answer.status == 200
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["tls_not_verified"]


async def test_another_hosts_certificate_is_taken_only_by_name_and_only_from_the_named_authority(
    ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    async with Server(ca, "example.test").running() as server:
        with structlog.testing.capture_logs() as logs:
            answer = await sent(server, ca_file, verify_hostname=False)
        error = await failure(server, str(other), verify_hostname=False)

    assert answer.status == 200
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["hostname_not_verified"]
    assert "not trusted" in error.text


def written(issued: trustme.LeafCert, folder: Path) -> dict[str, str]:
    cert_file, key_file = folder / "client.pem", folder / "client.key"
    cert_file.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(key_file)
    return {"client_cert_file": str(cert_file), "client_key_file": str(key_file)}


async def test_a_server_that_asks_for_a_certificate_is_shown_ours(
    ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    server = Server(ca)
    server.clients_of = ca
    async with server.running():
        answer = await sent(server, ca_file, **written(ca.issue_cert("bridge"), tmp_path))

    assert answer.status == 200


async def test_without_one_or_with_a_strangers_it_does_not_answer(
    ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    server = Server(ca)
    server.clients_of = ca
    async with server.running():
        without = await failure(server, ca_file)
        strange = await failure(server, ca_file, **written(trustme.CA().issue_cert("bridge"), tmp_path))

    assert (type(without), type(strange)) == (errors.Unanswered, errors.Unanswered)
    assert server.received == []


def test_a_certificate_that_cannot_be_shown_stops_the_account(ca: trustme.CA, tmp_path: Path) -> None:
    files = written(ca.issue_cert("bridge"), tmp_path)
    trustme.CA().issue_cert("other").private_key_pem.write_to_path(files["client_key_file"])

    with pytest.raises(errors.Misconfigured) as caught:
        HttpTransport(ApiSettings(url="https://localhost:1", **files))

    assert "client_cert_file" in caught.value.text
    assert "BEGIN" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:1", "localhost:1", "https://localhost/api", "ftp://x"])
def test_an_address_that_cannot_be_meant_is_refused_at_once(url: str) -> None:
    with pytest.raises(errors.Misconfigured):
        HttpTransport(ApiSettings(url=url))


def test_an_unreadable_authority_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(errors.Misconfigured, match="ca_file"):
        HttpTransport(ApiSettings(url="https://localhost:1", ca_file=str(tmp_path / "missing.pem")))


async def test_a_redirect_is_not_followed(ca: trustme.CA, ca_file: str) -> None:
    async def elsewhere(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: https://example.test/\r\ncontent-length: 0\r\n\r\n")

    async with Server(ca).running() as server:
        server.respond = elsewhere
        answer = await sent(server, ca_file)

    assert answer.status == 302
    assert len(server.received) == 1


async def test_an_answer_over_the_cap_is_given_up_while_it_is_read(ca: trustme.CA, ca_file: str) -> None:
    written = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(1000):
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            written += 0x10000

    async with Server(ca).running() as server:
        server.respond = endless
        error = await failure(server, ca_file, max_answer_bytes=100_000)

    assert isinstance(error, errors.SchemaMismatch)
    assert written < 30 * 1024 * 1024


async def test_an_answer_that_trickles_ends_at_the_deadline(ca: trustme.CA, ca_file: str) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with Server(ca).running() as server:
        server.respond = trickle
        error = await failure(server, ca_file, timeout_s=0.5)

    assert isinstance(error, errors.Unanswered)
    assert "within 0.5 s" in error.text


async def test_an_encoding_that_was_not_asked_for_is_not_expanded(ca: trustme.CA, ca_file: str) -> None:
    async def zipped(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nxx")

    async with Server(ca).running() as server:
        server.respond = zipped
        error = await failure(server, ca_file)

    assert isinstance(error, errors.SchemaMismatch)


async def test_a_connection_that_breaks_off_may_be_tried_again(ca: trustme.CA, ca_file: str) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf")
        await writer.drain()

    async with Server(ca).running() as server:
        server.respond = half
        error = await failure(server, ca_file)
        port = server.port

    assert isinstance(error, errors.Unanswered)
    gone = Server(ca)
    gone.port = port
    assert isinstance(await failure(gone, ca_file), errors.Unanswered)


async def test_neither_signature_nor_query_nor_token_path_reach_a_log(
    ca: trustme.CA, ca_file: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Server(ca).running() as server:
        await sent(server, ca_file, get("/v1.0/token/REFRESHTOKEN?signature=QUERYSECRET"))

    text = caplog.text
    assert "httpcore" in text
    for secret in ("REFRESHTOKEN", "QUERYSECRET", "SIGNATURE"):
        assert secret not in text


async def test_requests_one_after_another_use_one_connection_and_no_cookie(
    ca: trustme.CA, ca_file: str
) -> None:
    connections = 0

    async def keeping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            while True:
                server.received.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\ncontent-length: 2\r\n\r\n{}")
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()

    server = Server(ca)
    server._serve = keeping  # type: ignore[method-assign]
    async with server.running(), connected(server, ca_file) as transport:
        for _ in range(5):
            await transport.send(get())
        assert connections == 1
        await asyncio.gather(*(transport.send(get()) for _ in range(5)))
        assert 2 <= connections <= 5

    assert len(server.received) == 10
    assert not any(b"cookie" in request.lower() for request in server.received)


async def test_the_environments_proxy_is_not_asked(
    ca: trustme.CA, ca_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with Server(ca).running() as server:
        answer = await sent(server, ca_file)

    assert answer.status == 200
