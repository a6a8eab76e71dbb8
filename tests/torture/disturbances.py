"""The disturbances: copies of `ota-bridge run --stage fold` in one group, killed, frozen and terminated in rotation.

A frozen copy is the zombie: nothing of it works for longer than its session lasts, others take its partitions over,
and then it goes on in the middle of whatever it was doing.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings
from tests.integration.running_bridge import RunningBridge

PARTITIONS: Final = 12
STOP_WITHIN_S: Final = 30.0
"""The process gives itself 25 s; whoever is still there after this is killed and fails the test by its exit code."""
FOLDING_WITHIN_S: Final = 60.0
_CONFIGURATION: Final = """
[accounts.home.api]
url = "https://localhost:1"
rate_per_s = 100.0

[policy]
lookup_expiry_s = 3.0
lookup_backoff_s = 1.0
"""
"""A cloud that never answers: every device's timer fires every few seconds, so timers alone fill transactions too."""


class FoldCopies:
    """Copies of the fold by number. All are killed at the end."""

    def __init__(
        self,
        folder: Path,
        bootstrap_servers: str,
        prefix: str,
        *,
        copies: int = 3,
        session_timeout_s: float = 6.0,
    ) -> None:
        gateway = GatewaySettings(url="pulsar+ssl://localhost:1", subscription="none")
        account = GatewayAccount(
            name="home",
            cloud="tuya-cloud",
            access_id="none",
            access_key=Secret("no-gateway-ever-sees-this-key"),
            gateway=gateway,
        )
        self._copies: list[RunningBridge] = []
        self.done: Counter[str] = Counter()
        """How often each disturbance was made."""
        for number in range(copies):
            own = folder / f"copy-{number}"
            own.mkdir()
            copy = RunningBridge(
                own,
                account,
                bootstrap_servers,
                prefix,
                "--stage",
                "fold",
                partitions=PARTITIONS,
                session_timeout_s=session_timeout_s,
            )
            with copy.config_file.open("a", encoding="utf-8") as file:
                file.write(_CONFIGURATION)
            self._copies.append(copy)

    async def __aenter__(self) -> Self:
        """Start all of them."""
        for copy in self._copies:
            copy.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for copy in self._copies:
            await copy.child.kill()

    def __len__(self) -> int:
        return len(self._copies)

    async def kill(self, number: int, pause_s: float = 0.0) -> None:
        """End a copy with -9, and start it anew after a pause."""
        copy = self._copies[number]
        await copy.child.kill()
        await asyncio.sleep(pause_s)
        copy.start()
        self.done["killed"] += 1

    async def freeze(self, number: int, seconds: float) -> None:
        """Stop a copy in its tracks and let it go on."""
        child = self._copies[number].child
        child.pause()
        await asyncio.sleep(seconds)
        child.proceed()
        self.done["frozen"] += 1

    async def terminate(self, number: int, pause_s: float = 0.0) -> None:
        """End a copy as an operator does, which has to work, and start it anew after a pause."""
        await self.stop(number)
        await asyncio.sleep(pause_s)
        self._copies[number].start()
        self.done["terminated"] += 1

    async def stop(self, number: int) -> None:
        """End a copy as an operator does, which has to work."""
        copy = self._copies[number]
        # One that was started just before does not know signals yet: nothing of it has begun.
        await copy.logged("starting")
        assert await copy.child.stop(STOP_WITHIN_S) == 0, copy.log_file.read_text()[-4000:]

    async def stop_all(self) -> None:
        """End all of them so."""
        for number in range(len(self)):
            await self.stop(number)

    async def folding(self, number: int) -> int:
        """Return how many partitions a copy folds."""
        status = await self._copies[number].status(lambda status: "statistics" in _fold(status))
        return len((_fold(status)["statistics"] or {}).get("partitions_folding", ()))

    async def all_fold(self) -> None:
        """Wait until every copy folds its share."""
        async with asyncio.timeout(FOLDING_WITHIN_S):
            while True:
                shares = [await self.folding(number) for number in range(len(self))]
                if sum(shares) == PARTITIONS and min(shares) >= PARTITIONS // len(self):
                    return
                await asyncio.sleep(0.1)

    async def restart_in_turn(self) -> None:
        """Restart one copy after the other as an operator does, each when the last one works."""
        for number in range(len(self)):
            await self.terminate(number)
            await self.all_fold()

    async def disturb(self, seconds: float, *, seed: int) -> None:
        """Disturb each copy by each means in turn for so long, without waiting for the others."""
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self)):
                tasks.create_task(self._disturb_one(number, until, random.Random(f"{seed}/{number}")))

    async def _disturb_one(self, number: int, until: float, chance: random.Random) -> None:
        means: list[Callable[[], Awaitable[None]]] = [
            lambda: self.kill(number, chance.uniform(0, 5)),
            lambda: self.freeze(number, chance.uniform(8, 15)),
            lambda: self.terminate(number, chance.uniform(0, 5)),
            lambda: self.freeze(number, chance.uniform(0.2, 5)),
        ]
        for turn in itertools.count(number):
            await asyncio.sleep(chance.uniform(1, 15))
            if time.monotonic() > until:
                return
            await means[turn % len(means)]()


def _fold(status: dict[str, Any]) -> dict[str, Any]:
    stage: dict[str, Any] = status["stages"].get("fold", {})
    return stage
