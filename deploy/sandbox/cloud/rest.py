"""The way of a request through a simulated REST API, the same for every cloud. Each cloud adds its door and endpoints.

1. **Read** it as it arrived.
2. **Recognise** whose it is and which operation; count it.
3. **Admit** it: signature, time, nonce.
4. **Rate**: more than the account may have is refused.
5. **Faults**, as the knobs say.
6. **Token**.
7. **Serve** it, and answer; what an upgrade's watcher learned from the answer is noted.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import formatdate
from random import Random
from typing import Any, ClassVar, Final
from urllib.parse import unquote, unquote_plus

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from deploy.sandbox.cloud import rest_faults
from deploy.sandbox.cloud.faults import FaultBoard, Faults
from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.rest_faults import Refused, Words
from deploy.sandbox.cloud.tenant import Tenant
from deploy.sandbox.cloud.view import View, view_for

METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_MOST_BODY_BYTES = 64 * 1024
_LOGIN_S = 0.03
"""A login takes a moment, so that two at once can be seen."""

encode: Final = msgspec.json.Encoder().encode


class Surroundings(Struct, frozen=True, kw_only=True):
    """What a REST system is given beside its accounts. `now_s` is the right time."""

    faults: FaultBoard
    now_s: Callable[[], float]
    seed: int


class Asked(Struct, frozen=True, kw_only=True):
    """A request as it arrived: nothing decoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


class Call(Struct, frozen=True, kw_only=True):
    """One request of a known account on its way."""

    asked: Asked
    tenant: Tenant
    faults: Faults
    groups: tuple[str, ...] = ()
    """The path's variable parts, decoded."""


class Told(Struct, frozen=True):
    """A result; `tells_of`: devices whose running upgrade it shows."""

    result: Any
    tells_of: Sequence[Device] = ()


Endpoint = Callable[[Any, Call], Awaitable[Told]]


class Api(Struct, frozen=True):
    """One operation: the name it is counted under, its method, its path and action, its endpoint."""

    name: str
    method: str
    path: re.Pattern[str]
    endpoint: Endpoint
    """A method of the REST system's class."""
    action: str | None = None
    """For clouds whose operation is a parameter."""
    needs_token: bool = True


class RestSystem(ABC):
    """Serves every account of one cloud. `app` is the ASGI application."""

    apis: ClassVar[Sequence[Api]]
    words: ClassVar[Words]

    def __init__(self, tenants: Sequence[Tenant], surroundings: Surroundings) -> None:
        self.tenants = tuple(tenants)
        self.now_s = surroundings.now_s
        self.rng = Random(f"{surroundings.seed}/rest")
        self._faults = surroundings.faults
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=list(METHODS))])

    @abstractmethod
    def recognise(self, asked: Asked) -> Tenant:
        """Return whose request it is; raise Refused where nobody is known by that name."""

    @abstractmethod
    def admit(self, call: Call) -> int | None:
        """Check signature, time and nonce. Return the time it was signed for, in ms; None where none was signed."""

    @abstractmethod
    def check_token(self, call: Call) -> None:
        """Check the token of a business call."""

    @abstractmethod
    def end_token(self, tenant: Tenant) -> None:
        """The knob `rest_token_expires`: every token given out is worth nothing from now on."""

    @abstractmethod
    def success(self, told: Told, now_s: float) -> object:
        """Wrap a result as this cloud does; a `Response` where it is not JSON."""

    @abstractmethod
    def failure(self, refused: Refused, now_s: float) -> object:
        """Wrap a refusal as this cloud does; a `Response` where it is not JSON."""

    def action_of(self, asked: Asked) -> str | None:  # noqa: ARG002 - for clouds that have one
        """Return the parameter that names the operation, for clouds that have one."""
        return None

    def unknown_operation(self) -> Refused:
        """What is said where no operation is found."""
        return Refused(404, "not found", status=404)

    def vendor_now_s(self, tenant: Tenant | None) -> float:
        """The vendor's clock, which the knob `rest_clock_skew_s` sets."""
        skew_s = 0.0 if tenant is None else self._faults.of(tenant.account.name).rest_clock_skew_s
        return self.now_s() + skew_s

    def view(self, call: Call, device: Device) -> View:
        """What is shown of a device now."""
        return view_for(device, call.faults, self.now_s())

    @staticmethod
    async def log_in(tenant: Tenant, issue: Callable[[], Any]) -> Any:
        """Issue a token, which takes a moment, so that two logins at once are seen."""
        tenant.requests.login_begins()
        try:
            await asyncio.sleep(_LOGIN_S)
            return issue()
        finally:
            tenant.requests.login_ends()

    async def _serve(self, request: Request) -> Response:
        # 1. Read
        asked = await _read(request)
        if asked is None:
            return PlainTextResponse("request entity too large", status_code=413)
        # 2. Recognise
        try:
            tenant = self.recognise(asked)
        except Refused as refused:
            for tenant in self.tenants:
                tenant.requests.refuse(refused.kind or "account")
            return self._answer(self.failure(refused, self.now_s()), refused.status, self.now_s())
        api, groups = self._find(asked)
        tenant.requests.count(api.name if api else "unknown")
        faults = self._faults.of(tenant.account.name)
        truncated = self.rng.random() < faults.rest_truncate
        call = Call(asked=asked, tenant=tenant, faults=faults, groups=groups)
        try:
            # 3. Admit
            signed_at_ms = self.admit(call)
            # 4. Rate
            if not tenant.requests.admit(int(self.now_s() * 1000) if signed_at_ms is None else signed_at_ms):
                raise self.words.throttle(self.rng, "rate")
            # 5. Faults
            if faults.rest_slow_s:
                await asyncio.sleep(faults.rest_slow_s)
            if (instead := rest_faults.interfere(faults, self.rng, self.words)) is not None:
                return instead
            told = await self._told(api, call)
        except Refused as refused:
            if refused.kind is not None:
                tenant.requests.refuse(refused.kind)
            now_s = self.vendor_now_s(tenant)
            return self._answer(self.failure(refused, now_s), refused.status, now_s)
        for device in () if truncated else told.tells_of:
            device.told = True
        now_s = self.vendor_now_s(tenant)
        return self._answer(self.success(told, now_s), 200, now_s, truncated=truncated)

    async def _told(self, api: Api | None, call: Call) -> Told:
        if api is None:
            raise self.unknown_operation()
        # 6. Token
        if api.needs_token:
            if self.rng.random() < call.faults.rest_token_expires:
                self.end_token(call.tenant)
            self.check_token(call)
        # 7. Serve
        return await api.endpoint(self, call)

    def _find(self, asked: Asked) -> tuple[Api | None, tuple[str, ...]]:
        action = self.action_of(asked)
        for api in self.apis:
            match = api.path.fullmatch(asked.path)
            if match and api.method == asked.method and api.action in (None, action):
                return api, tuple(unquote(group) for group in match.groups())
        return None, ()

    def _answer(self, content: object, status: int, now_s: float, *, truncated: bool = False) -> Response:
        if isinstance(content, Response):
            return content
        body = encode(content)
        if truncated:
            body = rest_faults.truncate(body, self.rng)
        # The vendor's clock, for readers whose cloud tells it nowhere else.
        headers = {"date": formatdate(now_s, usegmt=True)}
        return Response(body, status_code=status, media_type="application/json", headers=headers)


def query_pairs(query: str) -> list[tuple[str, str]]:
    """Names and values of a query string, decoded, in their order."""
    pairs = []
    for part in query.split("&") if query else ():
        name, _, value = part.partition("=")
        pairs.append((unquote_plus(name), unquote_plus(value)))
    return pairs


async def _read(request: Request) -> Asked | None:
    """Take a request as it arrived; None when its body is larger than any that these APIs have a use for."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BODY_BYTES:
            return None
    return Asked(
        method=request.method,
        path=request.scope["raw_path"].decode("ascii"),
        query=request.scope["query_string"].decode("ascii"),
        headers=request.headers,
        body=bytes(body),
    )
