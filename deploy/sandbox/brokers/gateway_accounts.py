"""Accounts of the message gateway on a Pulsar broker: what the platform creates for each cloud project."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from msgspec import Struct

EVENT_PARTITIONS = 11
RETENTION_S = 7200
"""The gateway drops what is unconsumed for two hours."""
_REFUSES_WITHIN_S = 30.0
_RETRY_S = 0.2
_TOPICS = {"event": EVENT_PARTITIONS, "event-test": 0, "notice": 0}


class GatewayAddress(Struct, frozen=True, kw_only=True):
    """Where an account's messages are."""

    access_id: str
    topic: str
    """The production topic, `persistent://{access_id}/out/event`."""
    subscription: str


class GatewayAccounts:
    """Creates tenants, topics and subscriptions through the admin API, and keeps the file of accepted passwords."""

    def __init__(self, file: Path, admin_url: str, auth: httpx.Auth) -> None:
        self.file = file
        """Read by the broker's authentication provider at every connection."""
        self._admin_url = admin_url
        self._auth = auth
        self._passwords: dict[str, list[str]] = {}
        self._ttl_s = RETENTION_S

    def clear(self) -> None:
        """Forget all accounts."""
        self._passwords.clear()
        self._save()

    async def create(
        self, access_id: str, access_key: str, subscription: str, topics: Sequence[str]
    ) -> GatewayAddress:
        """Create an account, or bring an existing one to this key and these subscriptions.

        The key before the last rotation stays valid beside the new one: the platform changes keys without cutting
        off the programs that still use the old one.
        """
        password = derive_password(access_id, access_key)
        known = self._passwords.get(access_id, [])
        self._passwords[access_id] = [password, *(old for old in known if old != password)][:2]
        self._save()
        async with self._client() as admin:
            clusters = {"allowedClusters": ["standalone"]}
            await _ask(admin, "PUT", f"tenants/{access_id}", clusters)
            await _ask(admin, "PUT", f"namespaces/{access_id}/out")
            await _ask(admin, "POST", f"namespaces/{access_id}/out/permissions/{access_id}", ["consume"])
            await _ask(admin, "POST", f"namespaces/{access_id}/out/messageTTL", self._ttl_s)
            for topic, partitions in _TOPICS.items():
                path = f"persistent/{access_id}/out/{topic}"
                if partitions:
                    await _ask(admin, "PUT", f"{path}/partitions", partitions)
                else:
                    await _ask(admin, "PUT", path)
            for topic in topics:
                # Without a position a subscription begins at the latest message.
                earliest = {"ledgerId": -1, "entryId": -1, "partitionIndex": -1}
                path = f"persistent/{access_id}/out/{topic}/subscription/{subscription}"
                await _ask(admin, "PUT", path, earliest)
        return GatewayAddress(
            access_id=access_id, topic=f"persistent://{access_id}/out/event", subscription=subscription
        )

    async def listened_partitions(self, access_id: str, subscription: str) -> int:
        """Return how many partitions of the production topic have a consumer on that subscription."""
        async with self._client() as admin:
            path = f"persistent/{access_id}/out/event/partitioned-stats?perPartition=true"
            answer = await admin.get(path)
            answer.raise_for_status()
        partitions = answer.json()["partitions"].values()
        return sum(bool(stats["subscriptions"][subscription]["consumers"]) for stats in partitions)

    async def set_ttl(self, seconds: int) -> None:
        """Apply a retention to every account, and drop at once what is older."""
        self._ttl_s = seconds
        async with self._client() as admin, asyncio.TaskGroup() as group:
            for access_id in self._passwords:
                group.create_task(self._expire(admin, access_id, seconds))

    async def _expire(self, admin: httpx.AsyncClient, access_id: str, seconds: int) -> None:
        await _ask(admin, "POST", f"namespaces/{access_id}/out/messageTTL", seconds)
        for topic, partitions in _TOPICS.items():
            path = f"persistent/{access_id}/out/{topic}"
            names = [f"{path}-partition-{number}" for number in range(partitions)] or [path]
            for name in names:
                await _ask(admin, "POST", f"{name}/all_subscription/expireMessages/{seconds}")

    def _client(self) -> httpx.AsyncClient:
        # A client a call: callers come from different event loops.
        return httpx.AsyncClient(
            base_url=f"{self._admin_url}/admin/v2/", auth=self._auth, timeout=30, trust_env=False
        )

    def _save(self) -> None:
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(self._passwords), encoding="utf-8")
        temporary.replace(self.file)


def derive_password(access_id: str, access_key: str) -> str:
    """Return the `auth1` password: the middle of MD5(access id + MD5(access key)), both in lower-case hex."""
    inner = hashlib.md5(access_key.encode()).hexdigest()  # noqa: S324 - the vendor's choice
    return hashlib.md5((access_id + inner).encode()).hexdigest()[8:24]  # noqa: S324 - as above


async def _ask(admin: httpx.AsyncClient, method: str, path: str, body: object = None) -> None:
    """Make something so, or find it so; a broker that has just started refuses with 5xx until it can write."""
    deadline = time.monotonic() + _REFUSES_WITHIN_S
    while True:
        answer = await admin.request(method, path, json=body)
        if not answer.is_server_error or time.monotonic() > deadline:
            break
        await asyncio.sleep(_RETRY_S)
    if answer.status_code != httpx.codes.CONFLICT:  # it exists already
        answer.raise_for_status()
