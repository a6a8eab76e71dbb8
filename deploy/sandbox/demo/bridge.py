"""The real bridge as a child process, with the configuration that the sandbox wrote for it."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from deploy.sandbox.brokers.ports import free_ports
from deploy.sandbox.brokers.process import Child

_POLL_S = 0.1
_READY_WITHIN_S = 60.0
_STOP_WITHIN_S = 30.0
"""The bridge gives itself 25."""


class BridgeProcess:
    """`ota-bridge run -c FILE`; its log goes to `log_file`. Killed when our process ends, however it ends."""

    def __init__(self, config_file: Path, log_file: Path) -> None:
        self.command = [str(Path(sys.executable).with_name("ota-bridge")), "run", "-c", str(config_file)]
        self._log_file = log_file
        (port,) = free_ports(1)
        self.status_url = f"http://127.0.0.1:{port}/status"
        self._environment = {"OTA_BRIDGE__HTTP__PORT": str(port)}
        self._child: Child

    async def __aenter__(self) -> Self:
        """Start it, and return at once."""
        self._log_file.unlink(missing_ok=True)
        self._child = Child(
            "The bridge", self.command, log_file=self._log_file, environment=self._environment
        )
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._child.kill()

    def check(self) -> None:
        """Raise ChildFailed if it ended."""
        if (code := self._child.exit_code) is not None:
            raise self._child.failed(f"ended by itself with exit code {code}")

    async def folding(self, partitions: int) -> None:
        """Return once it has taken over every partition. Raises ChildFailed when it ends or takes too long."""
        deadline = time.monotonic() + _READY_WITHIN_S
        async with httpx.AsyncClient(trust_env=False) as client:
            while len(await self._folded(client)) < partitions:
                self.check()
                if time.monotonic() > deadline:
                    raise self._child.failed(f"was not ready within {_READY_WITHIN_S:.0f} s")
                await asyncio.sleep(_POLL_S)

    async def stop(self) -> int:
        """Ask it to stop, as an operator does, and return its exit code."""
        return await self._child.stop(_STOP_WITHIN_S)

    async def _folded(self, client: httpx.AsyncClient) -> list[int]:
        try:
            answer = await client.get(self.status_url)
        except httpx.TransportError:
            return []
        status: dict[str, Any] = answer.json()
        fold = status["stages"].get("fold", {}).get("statistics") or {}
        folding: list[int] = fold.get("partitions_folding", [])
        return folding
