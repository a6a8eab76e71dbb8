"""One HTTP request to a firmware API, one answer: the only place that knows httpx.

TLS is verified against the host's name, nothing is redirected (a signature is for one host and path), the answer is
capped while it is read, one deadline holds for the whole exchange, and what is sent is byte for byte what was signed.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

import httpx
import structlog

from bridge.clouds.errors import CloudError, Misconfigured, SchemaMismatch, Unanswered
from bridge.clouds.settings import ApiSettings
from bridge.clouds.wire import Answer, Request
from bridge.error_text import error_text
from consumer.trust import certificate_problem

log = structlog.get_logger(__name__)

KEEPALIVE_S: Final = 30.0
"""Servers close idle connections after a minute or so; we do it before them."""


class HttpTransport:
    """The real transport of one account."""

    def __init__(self, api: ApiSettings) -> None:
        url = urlsplit(api.url)
        if url.scheme not in ("https", "http") or not url.hostname or url.path.rstrip("/") or url.query:
            raise Misconfigured(
                f"url {api.url!r} is not of the form https://host[:port], without a path",
                api="configuration",
                remedy="correct the account's api.url, and start the bridge again",
            )
        if url.scheme == "http" and api.tls_verify:
            raise Misconfigured(
                f"url {api.url!r} is not encrypted",
                api="configuration",
                remedy="use https in the account's api.url, or set tls_verify = false to send requests in the open",
            )
        self.host = url.netloc
        self._base = f"{url.scheme}://{url.netloc}/"
        self._timeout_s = api.timeout_s
        self._max_answer_bytes = api.max_answer_bytes
        self._tls = _tls_context(api)
        # One connection each, the last used on top. The library's own pool looks at every pair of its connections
        # for every request, which at 200 requests a second costs more than everything else together.
        self._idle: list[httpx.AsyncHTTPTransport] = []
        self._is_closed = False

    async def send(self, request: Request) -> Answer:
        """See Transport. The deadline `timeout_s` covers connecting, sending and reading the whole answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(request)
        except TimeoutError as error:
            raise Unanswered(
                f"no answer from {self.host} within {self._timeout_s:g} s", api=request.api
            ) from error
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            # Without the error's own words, which repeat the header: it may be the token.
            raise Unanswered("the request cannot be written as HTTP", api=request.api) from None
        except httpx.HTTPError as error:
            raise self._failure(request, error) from error

    async def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        while self._idle:
            await self._idle.pop().aclose()

    async def _exchange(self, request: Request) -> Answer:
        connection = self._idle.pop() if self._idle else self._connection()
        try:
            answer = await self._exchange_over(connection, request)
        except BaseException:
            # The library may keep a connection that was cut in its only place for ever.
            await connection.aclose()
            raise
        if self._is_closed:
            await connection.aclose()
        else:
            self._idle.append(connection)
        return answer

    def _connection(self) -> httpx.AsyncHTTPTransport:
        """A bare transport follows no redirect, keeps no cookie, and logs nothing."""
        return httpx.AsyncHTTPTransport(
            verify=self._tls,
            # Neither proxies nor a .netrc of the environment may see or change what we sign.
            trust_env=False,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEPALIVE_S),
        )

    async def _exchange_over(self, connection: httpx.AsyncHTTPTransport, request: Request) -> Answer:
        outgoing = httpx.Request(
            request.method,
            self._base,
            # Identity: the cap below counts what arrives, so nothing may expand afterwards.
            headers={"accept": "application/json", "accept-encoding": "identity"} | dict(request.headers),
            content=request.body or None,
            # The target goes out as it was signed: httpx would normalise a URL.
            extensions={
                "target": request.target.encode("ascii"),
                "timeout": httpx.Timeout(self._timeout_s).as_dict(),
            },
        )
        response = await connection.handle_async_request(outgoing)
        try:
            return Answer(
                status=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await self._read(request, response),
            )
        finally:
            await response.aclose()

    async def _read(self, request: Request, response: httpx.Response) -> bytes:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise SchemaMismatch(
                f"answer is encoded as {encoding!r}, which was not asked for", api=request.api
            )

        chunks: list[bytes] = []
        size_bytes = 0
        async for chunk in response.aiter_raw():
            size_bytes += len(chunk)
            if size_bytes > self._max_answer_bytes:
                raise SchemaMismatch(f"answer is larger than {self._max_answer_bytes} bytes", api=request.api)
            chunks.append(chunk)
        return b"".join(chunks)

    def _failure(self, request: Request, error: httpx.HTTPError) -> CloudError:
        if isinstance(error, httpx.TimeoutException):
            return Unanswered(f"no answer from {self.host} within {self._timeout_s:g} s", api=request.api)

        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, ssl.SSLCertVerificationError):
            # Tried again for ever all the same: it may be the server's certificate that is put right.
            problem, remedy = certificate_problem(cause, table="the account's api")
            return Unanswered(f"the certificate of {self.host} {problem}", api=request.api, remedy=remedy)
        if cause is not None:
            return Unanswered(
                f"no TLS with {self.host} ({cause.reason or type(cause).__name__})",
                api=request.api,
                remedy="check the port in the account's api.url, and whether the API asks for a certificate"
                " (client_cert_file)",
            )
        return Unanswered(f"{self.host} could not be asked: {error_text(error)}", api=request.api)


def _tls_context(api: ApiSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=api.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"ca_file {api.ca_file!r} cannot be used: {error}",
            api="configuration",
            remedy="name a PEM file of certificates as the account's api.ca_file, and start the bridge again",
        ) from error
    if api.client_cert_file is not None:
        try:
            # An empty password, so that a key that has one fails here and does not ask at a terminal.
            context.load_cert_chain(api.client_cert_file, api.client_key_file, password="")
        except (OSError, ssl.SSLError) as error:
            raise Misconfigured(
                f"client_cert_file and client_key_file cannot be used: {error_text(error)}",
                api="configuration",
                remedy="name the PEM files of a certificate and of its key without a password, "
                "and start the bridge again",
            ) from error
    if not api.verify_hostname:
        log.warning(
            "hostname_not_verified", url=api.url, remedy="correct url, and remove verify_hostname = false"
        )
        context.check_hostname = False
    if not api.tls_verify:
        log.warning("tls_not_verified", url=api.url, remedy="set ca_file and remove tls_verify = false")
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
