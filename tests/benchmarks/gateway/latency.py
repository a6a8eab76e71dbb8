"""How long a message about an upgrade takes: from the gateway's publish to the hands of a reader of the observations.

An even stream of single messages; each carries its number, and the platform notes when it handed each over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

import msgspec

from deploy.sandbox.cloud.envelope import Key, Manner, Sealed, seal
from deploy.sandbox.cloud.messages import upgrade_status
from tests.benchmarks.gateway.backlog import Account
from tests.benchmarks.gateway.contest import Contest, Running
from tests.benchmarks.gateway.gauge import Drained, Unfinished
from tests.benchmarks.gateway.mix import make_fleet
from tests.benchmarks.gateway.observed import Observer
from tests.benchmarks.percentiles import percentile

RATE_PER_S: Final = 1000
WARM_UP_S: Final = 3
_ARRIVED_WITHIN_S: Final = 20.0
_STATUS: Final = 2


async def measure_latency(contest: Contest, seconds: int) -> tuple[Mapping[str, float], Drained]:
    """Return the percentiles, and what the process needed. Raises ChildFailed or Unfinished."""
    account = await contest.gateway.create_account()
    messages = await asyncio.to_thread(_seal_statuses, account, RATE_PER_S * (WARM_UP_S + seconds))
    process = contest.start("ours", account, account.subscription, len(messages))
    observer = Observer(contest.kafka)
    await asyncio.to_thread(observer.start)
    try:
        await contest.until_listening(account, [process])
        published_ns = await asyncio.to_thread(_publish_evenly, contest, account, messages)
        await _until_arrived(observer, process, len(messages))
        needed = await contest.end([process], len(messages))
    finally:
        await process.child.kill()
        await asyncio.to_thread(observer.close)
    latencies_ms = latencies(observer.arrived, published_ns)[RATE_PER_S * WARM_UP_S :]
    return {
        "ingest_latency_p50_ms": percentile(latencies_ms, 50),
        "ingest_latency_p99_ms": percentile(latencies_ms, 99),
        "ingest_latency_max_ms": max(latencies_ms),
    }, needed


def latencies(arrived: Sequence[tuple[int, bytes]], published_ns: Sequence[int]) -> list[float]:
    """Return each message's latency in ms, in the order of publishing. Raises Unfinished when one is missing.

    A message that arrived twice counts from its first arrival.
    """
    first: dict[int, int] = {}
    for at_ns, value in arrived:
        observation: dict[str, Any] = msgspec.json.decode(value)
        if observation["kind"] == "status":
            number = int(observation["evidence"]["raw"]["bizData"]["description"])
            first.setdefault(number, at_ns)
    missing = len(published_ns) - len(first)
    if missing:
        raise Unfinished(f"{missing} of {len(published_ns)} observations did not arrive")
    return [(first[number] - at_ns) / 1e6 for number, at_ns in enumerate(published_ns)]


def _seal_statuses(account: Account, count: int) -> list[tuple[str, Sealed]]:
    rng = Random("latency")
    fleet = make_fleet()
    key, manner = Key(account.access_key), Manner(mode="aes_gcm")
    t_ms = time.time_ns() // 1_000_000
    sealed = []
    for number in range(count):
        device = fleet[rng.randrange(len(fleet))]
        message = upgrade_status(device, 0, _STATUS, t_ms, str(number))
        parts = seal(
            message.body,
            protocol=message.protocol,
            t_ms=t_ms,
            key=key,
            manner=manner,
            nonce=rng.randbytes(12),
        )
        sealed.append((device.device_id, parts))
    return sealed


def _publish_evenly(contest: Contest, account: Account, messages: Sequence[tuple[str, Sealed]]) -> list[int]:
    """Publish one message every millisecond, each by itself, and return when each was handed over."""
    published_ns = []
    client = contest.gateway.client()
    try:
        producer = client.create_producer(account.topic, block_if_queue_full=True)
        began_ns = time.perf_counter_ns()
        for number, (device_id, sealed) in enumerate(messages):
            early_s = (began_ns - time.perf_counter_ns()) / 1e9 + number / RATE_PER_S
            if early_s > 0:
                time.sleep(early_s)
            published_ns.append(time.perf_counter_ns())
            producer.send_async(sealed.payload, None, sealed.properties, partition_key=device_id)
        producer.flush()
    finally:
        client.close()
    return published_ns


async def _until_arrived(observer: Observer, process: Running, count: int) -> None:
    deadline = time.monotonic() + _ARRIVED_WITHIN_S
    while len(observer.arrived) < count or process.acknowledged() < count:
        if time.monotonic() > deadline:
            raise Unfinished(f"{len(observer.arrived)} of {count} observations arrived")
        await asyncio.sleep(0.1)
