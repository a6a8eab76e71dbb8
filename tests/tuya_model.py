"""A small, strict Tuya cloud for tests: it checks every request as the contract says, by code of its own.

As a `Transport` it is asked directly; `tests/integration` puts it behind a real HTTPS server.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import secrets
from collections import Counter, deque
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from bridge.clouds.settings import ApiAccount
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.wire import Answer, Request
from consumer.secret import Secret
from consumer.settings import RawEvidence

ACCESS_ID = "1KAD46OrT9HafiKdsXeg"
ACCESS_KEY = "4OHBOnWOqaEC1mWXOpVL3yV50s0qGSRC"


def tuya_account(
    name: str = "tuya-test", *, evidence_raw: RawEvidence = "redacted", **api: Any
) -> ApiAccount[TuyaCredentials, TuyaApi]:
    return ApiAccount(
        name=name,
        cloud="tuya-cloud",
        credentials=TuyaCredentials(access_id=ACCESS_ID, access_key=Secret(ACCESS_KEY)),
        api=TuyaApi(**{"url": "https://localhost:1", "discovery": "off"} | api),
        evidence_raw=evidence_raw,
    )


def failure(code: int, msg: str = "no", **more: Any) -> dict[str, Any]:
    return {"success": False, "code": code, "msg": msg, "tid": "trace"} | more


class TuyaModel:
    """`firmware`: device id to the result of its information call. `faults` are used up, one per business request."""

    def __init__(self, now_ms: Callable[[], int], *, latency_s: float = 0.0, skew_ms: int = 0) -> None:
        self.firmware: dict[str, Any] = {}
        self.progress: dict[tuple[str, str], Any] = {}
        self.legacy: dict[str, Any] = {}
        self.devices: list[dict[str, Any]] = []
        self.faults: deque[dict[str, Any] | Answer | Exception | None] = deque()
        self.always: Callable[[Request], dict[str, Any] | None] = lambda _request: None
        self.requests: list[tuple[int, str]] = []
        self.asked: Counter[str] = Counter()
        self.arrivals: list[float] = []
        self.tokens: dict[str, int] = {}
        self.token_life_s = 7200
        self.old_tokens_end = False
        self.refused: list[str] = []
        self.latency_s = latency_s
        self.skew_ms = skew_ms
        self.access_key = ACCESS_KEY
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms() + self.skew_ms

    async def send(self, request: Request) -> Answer:
        loop = asyncio.get_running_loop()
        self.arrivals.append(loop.time())
        self.asked[request.api] += 1
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        body = self._judge(request)
        if isinstance(body, Exception):
            raise body
        if isinstance(body, Answer):
            return body
        text = json.dumps({"t": self.now_ms()} | body)
        return Answer(status=200, headers={"content-type": "application/json"}, body=text.encode())

    def _judge(self, request: Request) -> Any:
        headers = {name.lower(): value for name, value in request.headers.items()}
        path, _, query = request.target.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
        self.requests.append((self.now_ms(), request.target))

        signed = self._sign(request, headers, path, pairs)
        if not hmac.compare_digest(signed, headers["sign"]):
            self.refused.append("signature")
            return failure(1004, "sign invalid")
        if abs(self.now_ms() - int(headers["t"])) > 300_000:
            self.refused.append("time")
            return failure(1013, "request time is invalid")
        if path == "/v1.0/token":
            return self._token(pairs)
        if self.tokens.get(headers.get("access_token", ""), 0) <= self.now_ms():
            self.refused.append("token")
            return failure(1010, "token invalid")
        if self.faults and (fault := self.faults.popleft()) is not None:
            return fault
        return self.always(request) or self._serve(path, pairs)

    def _sign(self, request: Request, headers: dict[str, str], path: str, pairs: dict[str, str]) -> str:
        url = path
        if pairs:
            url += "?" + "&".join(f"{key}={unquote(pairs[key])}" for key in sorted(pairs))
        text = "\n".join([request.method, hashlib.sha256(request.body).hexdigest(), "", url])
        text = headers["client_id"] + headers.get("access_token", "") + headers["t"] + text
        return hmac.new(self.access_key.encode(), text.encode(), hashlib.sha256).hexdigest().upper()

    def _token(self, pairs: dict[str, str]) -> Any:
        if pairs != {"grant_type": "1"}:
            return failure(1003, "grant type invalid")
        if self.old_tokens_end:
            self.tokens.clear()
        token = secrets.token_hex(16)
        self.tokens[token] = self.now_ms() + self.token_life_s * 1000
        result = {"access_token": token, "refresh_token": "r", "expire_time": self.token_life_s, "uid": "u"}
        return {"success": True, "result": result}

    def _serve(self, path: str, pairs: dict[str, str]) -> Any:
        parts = path.strip("/").split("/")
        if path == "/v2.0/cloud/thing/device":
            size, last_id = int(pairs["page_size"]), unquote(pairs.get("last_id", ""))
            ids = [device["id"] for device in self.devices]
            begin = ids.index(last_id) + 1 if last_id else 0
            return {"success": True, "result": self.devices[begin : begin + size]}
        if parts[:3] == ["v2.0", "cloud", "thing"] and parts[4:] == ["firmware"]:
            known = self.firmware
            device_id = unquote(parts[3])
        elif parts[:3] == ["v2.0", "cloud", "thing"] and parts[6:] == ["progress"]:
            return {"success": True, "result": self.progress[(unquote(parts[3]), parts[5])]}
        elif parts[-1] == "upgrade-infos":
            known = self.legacy
            device_id = unquote(parts[-2])
        else:
            return failure(1108, "uri path invalid")
        if device_id not in known:
            return failure(2010, "device not exist")
        return {"success": True, "result": known[device_id]}
