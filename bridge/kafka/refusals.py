"""What the brokers, or we of them, refuse until somebody changes a setting: which one."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from aiokafka.errors import (
    InvalidSessionTimeoutError,
    InvalidTransactionTimeout,
    KafkaError,
    SaslAuthenticationFailed,
)

from bridge.error_text import error_text
from consumer.trust import certificate_problem

_REMEDIES: Final[Mapping[type[KafkaError], str]] = {
    InvalidSessionTimeoutError: "set kafka.session_timeout_s to what the brokers allow, from their"
    " group.min.session.timeout.ms to their group.max.session.timeout.ms, and start the bridge again",
    InvalidTransactionTimeout: "set kafka.transaction_timeout_s to what the brokers allow, no more than their"
    " transaction.max.timeout.ms, and start the bridge again",
    SaslAuthenticationFailed: "check kafka.username, kafka.password_file and kafka.sasl_mechanism, and start the bridge"
    " again; what is mended at the brokers needs no restart",
}


def remedy_of_refusal(error: BaseException) -> str | None:
    """Return which key to set; None for trouble that passes by itself.

    The library wraps what it meets while joining a group into an error without a kind that only says its name.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return problem_of_certificate(error)[1]
    text = error_text(error)
    return next((remedy for kind, remedy in _REMEDIES.items() if kind.__name__ in text), None)


def problem_of_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return what is wrong with a broker's certificate, and the remedy."""
    problem, remedy = certificate_problem(error, table="kafka")
    return problem, remedy.replace("kafka.url", "kafka.bootstrap_servers")
