"""What the brokers refuse until somebody changes a setting: trying again does not help, and which key does is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aiokafka.errors import InvalidSessionTimeoutError, InvalidTransactionTimeout, KafkaError

from bridge.error_text import error_text

_REMEDIES: Final[Mapping[type[KafkaError], str]] = {
    InvalidSessionTimeoutError: "set kafka.session_timeout_s to what the brokers allow, from their"
    " group.min.session.timeout.ms to their group.max.session.timeout.ms, and start the bridge again",
    InvalidTransactionTimeout: "set kafka.transaction_timeout_s to what the brokers allow, no more than their"
    " transaction.max.timeout.ms, and start the bridge again",
}


def remedy_of_refusal(error: BaseException) -> str | None:
    """Return which key to set; None for trouble that passes by itself.

    The library wraps what it meets while joining a group into an error without a kind that only says its name.
    """
    text = error_text(error)
    return next((remedy for kind, remedy in _REMEDIES.items() if kind.__name__ in text), None)
