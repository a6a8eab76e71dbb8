"""Stores are restored few at a time, and one that hangs keeps nobody waiting for ever."""

from __future__ import annotations

import asyncio

from bridge.fold.restore_turns import AT_A_TIME, PATIENCE_S, RestoreTurns
from tests.virtual_time import in_virtual_time, now_s


@in_virtual_time
async def test_the_first_partitions_are_ready_before_the_last_ones_begin() -> None:
    turns, began_s = RestoreTurns(), now_s()
    ready: list[float] = []

    async def restore() -> None:
        async with turns.turn():
            await asyncio.sleep(1.0)
        ready.append(round(now_s() - began_s))

    await asyncio.gather(*(restore() for _ in range(2 * AT_A_TIME)))

    assert ready == [1] * AT_A_TIME + [2] * AT_A_TIME


@in_virtual_time
async def test_restores_that_hang_keep_the_others_waiting_no_longer_than_patience_goes() -> None:
    turns, began_s = RestoreTurns(), now_s()

    async def hang() -> None:
        async with turns.turn():
            await asyncio.Event().wait()

    hanging = [asyncio.create_task(hang()) for _ in range(AT_A_TIME)]
    await asyncio.sleep(0)
    async with turns.turn():
        assert round(now_s() - began_s, 2) == PATIENCE_S

    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)
    async with turns.turn():
        assert round(now_s() - began_s, 2) == PATIENCE_S
