"""What nobody foresaw in one answer costs that reading or that package: the account goes on, and so do the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from bridge.clouds.settings import AnyAccount
from bridge.clouds.shape import UNTOLD, Cloud, Discovered, FirmwarePackage, Looked, Means, Pace
from bridge.clouds.tuya_cloud.cloud import TuyaCloud
from bridge.kafka.settings import KafkaSettings
from bridge.reconcile.worker import Reconcile
from schemas import LookupRequest, Package
from tests.tuya_model import TuyaModel, tuya_account
from tests.unit.reconcile.memory_sink import MemorySink
from tests.unit.reconcile.test_account import idle
from tests.virtual_time import in_virtual_time, now_ms, now_s


class Odd(TuyaCloud):
    """Whatever is read of it but a device's status meets a defect of ours."""

    has_sweep = True

    async def discover(self) -> AsyncGenerator[Sequence[Discovered], None]:
        yield [Discovered(device_id="dev1")]
        raise RecursionError

    async def sweep(self) -> AsyncGenerator[Sequence[Looked], None]:
        yield [await super().lookup("dev2")]
        raise ValueError("exceeds the limit for integer string conversion")

    async def package(self, package_id: str) -> FirmwarePackage | None:
        raise OverflowError(package_id)

    async def lookup(self, device_id: str) -> Looked:
        looked = await super().lookup(device_id)
        named = Package(id="package1", state=UNTOLD)
        return replace(looked, observations=tuple(replace(one, package=named) for one in looked.observations))


class Stage(Reconcile):
    """A stage whose process owns everything, without a broker."""

    async def _serve_group(self, stop: asyncio.Event, _serving: Sequence[asyncio.Task[None]]) -> None:
        self._own(range(12), range(12))
        while not stop.is_set():
            self._membership.proved(now_s())
            await asyncio.sleep(1)


def ask(stage: Stage, account: str, device_id: str, lookup_id: str) -> None:
    stage._accounts[account].accept(
        LookupRequest(
            lookup_id=lookup_id,
            device_id=device_id,
            account=account,
            cause="claim",
            due_at_ms=now_ms(),
            expires_at_ms=now_ms() + 600_000,
        )
    )


@in_virtual_time
async def test_a_defect_in_one_accounts_answers_stops_neither_it_nor_the_others() -> None:
    models = {name: TuyaModel(now_ms) for name in ("odd", "other")}
    for model in models.values():
        model.firmware |= idle("dev1", "dev2")
    sink = MemorySink()

    def cloud_of(account: AnyAccount, pace: Pace) -> Cloud:
        model, means = models[account.name], {"now_ms": now_ms, "jitter": lambda: 1.0}
        made: type[TuyaCloud] = Odd if account.name == "odd" else TuyaCloud
        return made(account, Means(transport=model, pace=pace, **means))  # type: ignore[arg-type]

    accounts: list[Any] = [tuya_account(name, discovery="api") for name in models]
    stage = Stage(
        accounts,
        KafkaSettings(bootstrap_servers="127.0.0.1:9"),
        sink,
        cloud_of=cloud_of,
        now_ms=now_ms,
        monotonic=now_s,
    )
    stop = asyncio.Event()
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(stage.run(stop))
        await asyncio.sleep(30)

        for account in models:
            ask(stage, account, "dev1", f"of {account}")
        ask(stage, "odd", "", "listing")
        await asyncio.sleep(300)
        assert not running.done()
        stop.set()
        await running

    broke = {(line["event"], line.get("work")) for line in logs if line["log_level"] == "error"}
    assert broke == {("reading_broke", "discovery"), ("reading_broke", "sweep"), ("package_broke", None)}
    assert {
        (line["work"], line["error"], line["text"]) for line in logs if line["event"] == "background_failed"
    } == {
        ("discovery", "schema_error", "the answer could not be read: RecursionError; please report it"),
        ("sweep", "schema_error", "the answer could not be read: ValueError; please report it"),
    }
    answers = {one.lookup_id: one for one in sink.observations if one.kind == "answer"}
    assert (answers["of odd"].outcome, answers["of other"].outcome) == ("ok", "ok")
    assert (answers["listing"].outcome, answers["listing"].error) == ("unavailable", "schema_error")
    told = [one for one in sink.observations if one.lookup_id == "of odd" and one.kind == "status"]
    assert told
    assert all(one.package is None for one in told)
