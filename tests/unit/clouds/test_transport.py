from __future__ import annotations

import asyncio
import traceback

import pytest

from bridge.clouds.errors import Unanswered
from bridge.clouds.settings import ApiSettings
from bridge.clouds.transport import HttpTransport
from bridge.clouds.wire import Answer, Request, shown_target


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/v1.0/token?grant_type=1", "/v1.0/token?grant_type=***"),
        ("/v1.0/token/abcdef0123456789", "/v1.0/token/***"),
        ("/v2.0/cloud/thing/dev1/firmware", "/v2.0/cloud/thing/dev1/firmware"),
        ("/?Signature=s%3D&AccessKeyId=k", "/?Signature=***&AccessKeyId=***"),
    ],
)
def test_what_is_shown_of_a_target_holds_no_token_and_no_value(target: str, shown: str) -> None:
    assert shown_target(target) == shown


def test_a_request_and_an_answer_do_not_print_what_they_carry() -> None:
    request = Request(
        api="token", method="GET", target="/?k=SECRET", headers={"sign": "SECRET"}, body=b"SECRET"
    )
    answer = Answer(status=200, headers={"set-cookie": "SECRET"}, body=b"SECRET")

    assert "SECRET" not in f"{request!r} {request} {answer!r} {answer}"


@pytest.mark.parametrize("token", ["SECRET\u00e9", "SECRET\u4e2d", "SECRET\n", "SECRET\0"])
async def test_a_header_that_cannot_be_sent_is_an_error_of_the_tree_and_is_not_shown(token: str) -> None:
    async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = HttpTransport(ApiSettings(url=f"http://127.0.0.1:{port}", tls_verify=False))

        with pytest.raises(Unanswered) as caught:
            await transport.send(
                Request(api="get", method="GET", target="/", headers={"access_token": token})
            )

    assert "SECRET" not in "".join(traceback.format_exception(caught.value))


async def test_a_port_that_speaks_no_tls_is_said_in_words_with_the_key_to_look_at() -> None:
    def answer_in_the_open(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer_in_the_open, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        transport = HttpTransport(ApiSettings(url=f"https://127.0.0.1:{port}"))

        with pytest.raises(Unanswered) as caught:
            await transport.send(Request(api="get", method="GET", target="/"))

    assert caught.value.text.startswith(f"no TLS with 127.0.0.1:{port} (")
    assert "_ssl.c" not in caught.value.text
    assert "the account's api.url" in caught.value.remedy


async def test_a_host_that_cannot_be_reached_names_the_key_that_may_be_mistyped() -> None:
    transport = HttpTransport(ApiSettings(url="https://127.0.0.1:9"))

    with pytest.raises(Unanswered) as caught:
        await transport.send(Request(api="get", method="GET", target="/"))

    assert "check the account's api.url" in caught.value.remedy
