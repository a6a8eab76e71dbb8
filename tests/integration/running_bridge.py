"""`ota-bridge run` as a user starts it, seen from outside: its log, its pages, its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from consumer.settings import GatewayAccount
from deploy.sandbox.brokers.process import Child


class RunningBridge:
    """One process at a time. Its configuration is written to `folder`; `kafka` are further keys of that table."""

    def __init__(
        self,
        folder: Path,
        account: GatewayAccount,
        bootstrap_servers: str,
        prefix: str,
        *arguments: str,
        access_key: str | None = None,
        **kafka: object,
    ) -> None:
        self.executable = os.fspath(Path(sys.executable).with_name("ota-bridge"))
        self.config_file = folder / "ota-bridge.toml"
        self.log_file = folder / "bridge.log"
        self._arguments = arguments
        (folder / "access-key.txt").write_text(access_key or account.access_key.reveal(), encoding="utf-8")
        values: dict[str, Any] = {
            "kafka": {"bootstrap_servers": bootstrap_servers, "prefix": prefix, "session_timeout_s": 6}
            | kafka,
            "http": {"port": 0},
            f"accounts.{account.name}": {
                "cloud": account.cloud,
                "access_id": account.access_id,
                "access_key_file": "access-key.txt",
            },
            f"accounts.{account.name}.gateway": {
                name: value
                for name, value in msgspec.structs.asdict(account.gateway).items()
                if value is not None
            },
        }
        lines = [
            f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
            for table, keys in values.items()
        ]
        self.config_file.write_text("\n".join(lines), encoding="utf-8")

    async def __aenter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start a process; what the log says is from now on what this one says."""
        self._log_begins = self.log_file.stat().st_size if self.log_file.exists() else 0
        self.child = Child(
            "the bridge",
            [self.executable, "run", "-c", os.fspath(self.config_file), *self._arguments],
            log_file=self.log_file,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.child.kill()

    def log(self, event: str) -> list[dict[str, Any]]:
        """Return the log's lines of one event."""
        return [line for line in self.entries() if line["event"] == event]

    def entries(self) -> list[dict[str, Any]]:
        """Return all lines of the log."""
        with self.log_file.open("rb") as file:
            file.seek(self._log_begins)
            text = file.read().decode(errors="replace")
        lines = [line for line in text.splitlines(keepends=True) if line[0] == "{" and line.endswith("}\n")]
        return [json.loads(line) for line in lines]

    async def logged(self, event: str) -> dict[str, Any]:
        """Return the first line of an event, once it is there."""
        while not (lines := self.log(event)):
            if self.child.exit_code is not None:
                raise self.child.failed(f"ended with {self.child.exit_code} before {event}")
            await asyncio.sleep(0.05)
        return lines[0]

    async def get(self, path: str) -> httpx.Response:
        """Return an answer of the pages."""
        port = (await self.logged("http_listening"))["port"]
        # Plain http: to read the trusted authorities anew at each poll would take longer than all the rest of it.
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:
            return await client.get(f"http://127.0.0.1:{port}{path}")

    async def status(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return `/status` once it meets the condition."""
        while not condition(status := (await self.get("/status")).json()):
            if self.child.exit_code is not None:
                raise self.child.failed(f"ended with {self.child.exit_code}")
            await asyncio.sleep(0.1)
        return status
