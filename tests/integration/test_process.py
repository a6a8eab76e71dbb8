"""`ota-bridge run` as one process: what it waits for, what ends it, and with which exit code."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from bridge.kafka.topics import topic_name
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.brokers.ports import free_ports
from tests.integration.running_bridge import RunningBridge


def all_run(status: dict[str, Any]) -> bool:
    fold = status["stages"].get("fold", {}).get("statistics")
    return (
        fold is not None
        and len(fold["partitions_folding"]) == 2
        and all(stage["state"] == "running" for stage in status["stages"].values())
    )


@contextlib.asynccontextmanager
async def forwarded(port: int, target: str) -> AsyncIterator[None]:
    """Make `target` reachable at `port`, as when a broker appears where the bridge looks for it."""
    host, _, number = target.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(number))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", port)
    async with server:
        yield


async def test_bridge_waits_for_kafka_says_so_and_goes_on_when_it_comes(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    async with RunningBridge(
        tmp_path, gateway_account, f"127.0.0.1:{port}", kafka_prefix, partitions=2
    ) as bridge:
        status = await bridge.status(lambda status: status["kafka"].get("attempts", 0) >= 2)
        assert status["kafka"]["state"] == "unreachable"
        assert status["kafka"]["last_error"].startswith("ConnectionRefusedError: ")
        assert {name: stage["state"] for name, stage in status["stages"].items()} == {
            "consumer": "waiting",
            "fold": "waiting",
        }
        assert (await bridge.get("/livez")).status_code == 200

        async with forwarded(port, brokers.kafka.bootstrap_servers):
            await bridge.status(all_run)

        assert await bridge.child.stop(30) == 0


async def test_sigterm_stops_everything_cleanly_and_no_secret_was_written(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    async with RunningBridge(
        tmp_path, gateway_account, brokers.kafka.bootstrap_servers, kafka_prefix, partitions=2
    ) as bridge:
        await bridge.status(all_run)
        page = (await bridge.get("/status")).text
        metrics = (await bridge.get("/metrics")).text

        assert await bridge.child.stop(30) == 0

    assert bridge.log("stopped")[0]["exit_code"] == 0
    assert not bridge.log("stage_died")
    assert gateway_account.access_key.reveal() not in bridge.log_file.read_text() + page + metrics
    shown = {sample.name for family in text_string_to_metric_families(metrics) for sample in family.samples}
    assert {"ota_bridge_gateway_state", "ota_bridge_fold_devices", "ota_bridge_writer_connected"} <= shown


async def test_one_stage_may_run_alone(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    async with RunningBridge(
        tmp_path,
        gateway_account,
        brokers.kafka.bootstrap_servers,
        kafka_prefix,
        "--stage",
        "fold",
        partitions=2,
    ) as bridge:
        status = await bridge.status(all_run)

        assert list(status["stages"]) == ["fold"]
        assert await bridge.child.stop(30) == 0


async def test_topic_with_another_cleanup_policy_ends_with_2(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    topic = topic_name(kafka_prefix, "upgrade-state")
    admin = AdminClient({"bootstrap.servers": brokers.kafka.bootstrap_servers})
    wrong = NewTopic(topic, 2, 1, config={"cleanup.policy": "delete"})
    await asyncio.to_thread(admin.create_topics([wrong])[topic].result)

    async with RunningBridge(
        tmp_path, gateway_account, brokers.kafka.bootstrap_servers, kafka_prefix, partitions=2
    ) as bridge:
        assert await bridge.child.wait() == 2

    (refused,) = bridge.log("topic_refused")
    assert topic in refused["problem"]
    assert "cleanup.policy=delete" in refused["problem"]
    assert "compact" in refused["problem"]


async def test_refusal_of_every_account_ends_with_3(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    async with RunningBridge(
        tmp_path,
        gateway_account,
        brokers.kafka.bootstrap_servers,
        kafka_prefix,
        access_key="0" * 32,
        partitions=2,
    ) as bridge:
        assert await bridge.child.wait() == 3

    (refused,) = bridge.log("stage_refused")
    assert refused["stage"] == "consumer"
    assert gateway_account.name in refused["error"]
    assert (refused["exit_code"], "access_key" in refused["error"]) == (3, False)
    (warned,), (told,) = bridge.log("gateway_disconnected"), bridge.log("account_stopped")
    assert (warned["outcome"], warned["reason"] == told["reason"]) == ("wrong_key", False)
    assert "refuses the access key" in told["reason"]
    assert f"accounts.{gateway_account.name}.access_key_file" in told["remedy"]
    # The bridge's own: the Kafka library has its own errors while a coordinator comes up.
    errors = [
        entry["event"] for entry in bridge.entries() if entry["level"] == "error" and "logger" not in entry
    ]
    assert errors == ["account_stopped", "stage_refused"]
    assert "0" * 32 not in bridge.log_file.read_text()


def kafka_is_away(status: dict[str, Any]) -> bool:
    return bool(status["kafka"]["state"] == "unreachable")


@pytest.mark.restarts_brokers
async def test_later_outage_of_kafka_shows_in_status_until_kafka_is_back(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    async with RunningBridge(
        tmp_path, gateway_account, brokers.kafka.bootstrap_servers, kafka_prefix, partitions=2
    ) as bridge:
        await bridge.status(all_run)
        away = asyncio.create_task(brokers.kafka.down(8, abruptly=True))
        kafka = (await bridge.status(kafka_is_away))["kafka"]
        await away
        status = await bridge.status(lambda status: not kafka_is_away(status) and all_run(status))

        assert kafka["last_error"]
        assert kafka["unreachable_since_ms"] > status["started_at_ms"]
        assert status["kafka"]["state"] == "ready"
        assert status["kafka"]["ready_at_ms"] > kafka["unreachable_since_ms"]
        assert await bridge.child.stop(30) == 0

    assert len(bridge.log("kafka_unreachable")) == 1
    assert len(bridge.log("kafka_ready")) == 2


@pytest.mark.restarts_brokers
async def test_stop_without_kafka_waits_for_no_confirmation_where_nothing_is_unconfirmed(
    brokers: Brokers, gateway_account: GatewayAccount, kafka_prefix: str, tmp_path: Path
) -> None:
    async with RunningBridge(
        tmp_path, gateway_account, brokers.kafka.bootstrap_servers, kafka_prefix, partitions=2
    ) as bridge:
        await bridge.status(all_run)
        away = asyncio.create_task(brokers.kafka.down(8, abruptly=True))
        await bridge.status(kafka_is_away)

        assert await bridge.child.stop(30) == 0
        await away

    assert not bridge.log("stopped_unconfirmed")
    assert not bridge.log("stop_too_slow")
