"""A transport that answers like EnOS, with what a test put into it: nothing is checked here that the sandbox checks."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from bridge.clouds.enos.cloud import EnosCloud
from bridge.clouds.enos.settings import EnosApi, EnosCredentials
from bridge.clouds.errors import CloudError
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.wire import Answer, Request
from consumer.secret import Secret

APP_KEY = "an-app-key"
APP_SECRET = "an-app-secret-nobody-may-see"
ORG_ID = "o15475466766371"
TOKEN = "a-token-nobody-may-see"
BEGIN_MS = 1_700_000_000_000


def enos_account(**api: Any) -> ApiAccount[EnosCredentials, EnosApi]:
    return ApiAccount(
        name="enos-test",
        cloud="enos",
        credentials=EnosCredentials(app_key=APP_KEY, app_secret=Secret(APP_SECRET), org_id=ORG_ID),
        api=EnosApi(url="https://localhost:1", **api),
    )


def json_answer(body: object, status: int = 200) -> Answer:
    return Answer(status=status, headers={}, body=msgspec.json.encode(body))


def row(asset_id: str, **fields: Any) -> dict[str, Any]:
    return {
        "orgId": ORG_ID,
        "assetId": asset_id,
        "productKey": "pk",
        "deviceKey": f"dk-{asset_id}",
        "firmwareVersion": "1.0",
        "isUpgrading": False,
    } | fields


def task(asset_id: str, task_id: str = "t1", **fields: Any) -> dict[str, Any]:
    return {
        "taskId": task_id,
        "orgId": ORG_ID,
        "assetId": asset_id,
        "productKey": "pk",
        "deviceKey": f"dk-{asset_id}",
        "jobId": "j1",
        "fromVersion": "1.0",
        "toVersion": "2.0",
        "progress": 0,
        "desc": "",
        "status": "init",
        "updateTime": BEGIN_MS,
    } | fields


class EnosModel:
    """`rows` and `tasks` are what the lists hold; `script` runs before each business answer, with the request's api."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS
        self.rows: list[dict[str, Any]] = []
        self.tasks: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.firmwares: dict[str, dict[str, Any]] = {}
        self.requests: list[Request] = []
        self.asked: Counter[str] = Counter()
        self.faults: list[Answer | CloudError | None] = []
        self.always: Callable[[Request], Answer | None] = lambda _request: None
        self.script: Callable[[str], None] = lambda _api: None
        self.slept_s: list[float] = []
        self.turns = 0
        self.tells_totals = True
        self.token: dict[str, Any] = {
            "status": 0,
            "msg": "SUCCESS",
            "data": {"accessToken": TOKEN, "expire": 7200},
        }

    def cloud(self, **api: Any) -> EnosCloud:
        means = Means(
            transport=self, pace=self, now_ms=lambda: self.now_ms, sleep=self.sleep, jitter=lambda: 1.0
        )
        return EnosCloud(enos_account(**api), means)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.turns += 1
        self.now_ms += 10
        yield

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_ms += round(seconds * 1000)

    async def send(self, request: Request) -> Answer:
        # An answer takes its time: meanwhile others ask.
        await asyncio.sleep(0)
        self.requests.append(request)
        self.asked[request.api] += 1
        if request.api == "token":
            return self.always(request) or json_answer(self.token)
        if self.faults and (fault := self.faults.pop(0)) is not None:
            if isinstance(fault, CloudError):
                raise fault
            return fault
        self.script(request.api)
        return self.always(request) or json_answer(self.answer(request))

    def answer(self, request: Request) -> dict[str, Any]:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        match query["action"], request.method:
            case "searchDeviceUpgrade", "POST":
                return self.page(request, self.rows)
            case "searchTask", "POST":
                keys = re.findall(r"""['"]([^'"]*)['"]""", msgspec.json.decode(request.body)["expression"])
                return self.page(request, [one for one in self.tasks if one["deviceKey"] in keys])
            case "search", "POST":
                return self.page(request, list(self.jobs.values()))
            case "get", "GET" if "jobId" in query:
                job = self.jobs.get(query["jobId"])
                return (
                    {"code": 24404, "msg": "job not found"}
                    if job is None
                    else {"code": 0, "msg": "OK", "data": job}
                )
            case "get", "GET":
                return {"code": 0, "msg": "OK", "data": self.firmwares.get(query["firmwareId"])}
        raise AssertionError(f"nobody may ask {request.method} {request.target}")

    def page(self, request: Request, entries: list[dict[str, Any]]) -> dict[str, Any]:
        pagination = msgspec.json.decode(request.body)["pagination"]
        number, size = pagination["pageNo"], pagination["pageSize"]
        told = {"sortedBy": None, "pageNo": number, "pageSize": size}
        return {
            "code": 0,
            "msg": "OK",
            "requestId": "r",
            "data": entries[(number - 1) * size : number * size],
            "pagination": told | ({"totalSize": len(entries)} if self.tells_totals else {}),
        }
