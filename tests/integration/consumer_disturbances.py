"""What can happen to the consumer under load, as often as a test wants it."""

from __future__ import annotations

import asyncio
import random
import time

from tests.integration.consumer_under_load import STOP_WITHIN_S, UnderLoad, receiving, working
from tests.integration.fold_topics import until
from tests.integration.observed import Verdict
from tests.integration.tcp_proxy import proxied


async def stop_again_and_again(house: UnderLoad, *, times: int, seed: int) -> Verdict:
    """Stop the consumer by SIGTERM and start it again; each stop has to end by itself, with exit code 0."""
    chance = random.Random(seed)
    bridge, slowest_s = house.copy(), 0.0
    for _ in range(times):
        bridge.start()
        await bridge.status(receiving)
        await asyncio.sleep(chance.uniform(0, 2))
        began_s = time.monotonic()
        assert await bridge.child.stop(STOP_WITHIN_S) == 0, bridge.log_file.read_text()[-4000:]
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    print(f"{times} stops, the slowest in {slowest_s:.1f} s")
    bridge.start()
    return await house.finish()


async def kill_again_and_again(house: UnderLoad, *, times: int, seed: int) -> Verdict:
    """Kill the consumer by SIGKILL and start it again."""
    chance = random.Random(seed)
    bridge = house.copy()
    for _ in range(times):
        bridge.start()
        await bridge.status(receiving)
        await asyncio.sleep(chance.uniform(0, 3))
        await bridge.child.kill()
    bridge.start()
    return await house.finish()


async def kill_one_of_two(house: UnderLoad, *, times: int, seed: int) -> Verdict:
    """Run two copies, kill the older one and start it anew: the other takes over."""
    chance = random.Random(seed)
    older, newer = house.copy(), house.copy()
    older.start()
    await older.status(working)
    for _ in range(times):
        newer.start()
        await newer.status(receiving)
        await asyncio.sleep(chance.uniform(0, 2))
        await older.child.kill()
        older, newer = newer, older
    return await house.finish()


async def cut_again_and_again(house: UnderLoad, *, times: int, seed: int) -> Verdict:
    """Break all connections to the gateway, every other time after a number of bytes: in the middle of a frame."""
    chance = random.Random(seed)
    pulsar = house.brokers.pulsar
    async with proxied(pulsar.proxy_port, pulsar.behind_proxy_port) as proxy:
        bridge = house.copy(port=proxy.port)
        bridge.start()
        await bridge.status(working)
        while (before := proxy.cuts) < times:
            await asyncio.sleep(chance.uniform(0.2, 4))
            if before % 2:
                proxy.cut()
            else:
                proxy.cut_after(chance.randrange(1, 100_000))
                await until(lambda before=before: proxy.cuts > before)
        return await house.finish()


async def freeze_kafka(house: UnderLoad, *, times: int, for_s: float) -> Verdict:
    """Let Kafka answer nothing for a while, its connections open."""
    bridge, kafka = house.copy(), house.brokers.kafka
    bridge.start()
    await bridge.status(working)
    for _ in range(times):
        kafka.pause()
        try:
            await asyncio.sleep(for_s)
        finally:
            kafka.proceed()
        await asyncio.sleep(3)
    return await house.finish()
