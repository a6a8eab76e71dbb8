"""What networks and clusters do to the requests of Kafka's clients, made at the one place that all of them pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient

Deliver = Callable[[Any], Awaitable[Any]]
"""Sends a request to the broker, this one or another, and returns its answer."""


def between_client_and_broker(
    monkeypatch: pytest.MonkeyPatch, intercept: Callable[[Any, Deliver], Awaitable[Any]]
) -> None:
    """Let `intercept` decide, for each request, what becomes of it: it delivers it or not, now or later."""
    send = AIOKafkaClient.send

    async def pass_or_not(client: AIOKafkaClient, node_id: int, request: Any, **options: Any) -> Any:
        return await intercept(request, lambda given: send(client, node_id, given, **options))

    monkeypatch.setattr(AIOKafkaClient, "send", pass_or_not)
