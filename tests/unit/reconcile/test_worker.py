from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError, NodeNotReadyError

from bridge.kafka.settings import KafkaSettings
from bridge.reconcile.worker import Reconcile
from schemas import LookupRequest
from tests.tuya_model import tuya_account
from tests.unit.reconcile.test_account import MemorySink
from tests.virtual_time import in_virtual_time, now_ms, now_s


def stage(*names: str) -> Reconcile:
    return Reconcile(
        [tuya_account(name) for name in names],
        KafkaSettings(bootstrap_servers="127.0.0.1:9"),
        MemorySink(),
        now_ms=now_ms,
        monotonic=now_s,
    )


def record(value: bytes | None) -> Any:
    return SimpleNamespace(partition=0, offset=7, value=value)


def lookup(account: str) -> bytes:
    return msgspec.json.encode(
        LookupRequest(
            lookup_id="a", device_id="d", account=account, cause="hint", due_at_ms=0, expires_at_ms=2**60
        )
    )


@in_virtual_time
async def test_what_cannot_be_read_or_belongs_to_nobody_is_counted_and_passed_over() -> None:
    reconcile = stage("home")

    for value in (None, b"{", b'{"lookup_id":7}', lookup("elsewhere"), lookup("home")):
        reconcile._accept(record(value))

    statistics = reconcile.statistics()
    assert (statistics.lookups_read, statistics.malformed, statistics.unknown_account) == (5, 3, 1)
    assert statistics.accounts[0].queue.waiting == 1


@in_virtual_time
async def test_each_account_belongs_to_whoever_holds_its_partition() -> None:
    names = [f"account-{number}" for number in range(20)]
    first, second = stage(*names), stage(*names)

    first._own([0, 1], range(4))
    second._own([2, 3], range(4))

    owned = [{one.account for one in each.statistics().accounts if one.owned} for each in (first, second)]
    assert owned[0] | owned[1] == set(names)
    assert not owned[0] & owned[1]
    assert all(owned)


@in_virtual_time
async def test_statistics_can_be_shown_as_json_and_hold_no_secret() -> None:
    text = msgspec.json.encode(stage("home").statistics()).decode()

    assert '"account":"home"' in text
    assert tuya_account().credentials.access_key.reveal() not in text


def test_two_stages_in_one_process_do_not_share_an_assignors_memory() -> None:
    assert stage("home")._assignor is not stage("home")._assignor


@in_virtual_time
async def test_commits_that_are_not_confirmed_are_a_problem_told_once_until_one_is() -> None:
    reconcile = stage("home")
    answer: Exception | None = NodeNotReadyError()

    class Consumer:
        async def commit(self, offsets: object) -> None:  # noqa: ARG002 (as the library's)
            if answer is not None:
                raise answer

    consumer: Any = Consumer()
    with structlog.testing.capture_logs() as lines:
        for _ in range(20):
            await reconcile._commit(consumer, {TopicPartition("lookups", 0): 1})
        assert "NodeNotReadyError" in (reconcile.statistics().problem or "")
        answer = None
        await reconcile._commit(consumer, {TopicPartition("lookups", 0): 1})

    assert [line["event"] for line in lines] == ["commit_not_confirmed", "commit_confirmed_again"]
    assert lines[0]["problem"].startswith("Kafka did not answer (")
    assert lines[0]["remedy"].startswith("none, it is tried again by itself")
    assert reconcile.statistics().problem is None


@in_virtual_time
async def test_the_trouble_of_who_owns_nothing_any_more_is_over() -> None:
    reconcile = stage("home")

    class Consumer:
        async def commit(self, offsets: object) -> None:  # noqa: ARG002 (as the library's)
            raise CommitFailedError("the group is changing")

    consumer: Any = Consumer()
    reconcile._own([0], range(1))
    await reconcile._commit(consumer, {TopicPartition("lookups", 0): 1})
    assert reconcile.statistics().problem is not None

    reconcile._suspend()
    reconcile._own([], range(1))

    assert reconcile.statistics().problem is None


@in_virtual_time
async def test_a_proof_that_is_asked_for_as_the_partitions_go_asks_nothing() -> None:
    reconcile = stage("home")
    reconcile._own([0], range(1))
    asking = asyncio.create_task(reconcile._commit(NotImplemented, {}))
    reconcile._suspend()
    await asking
