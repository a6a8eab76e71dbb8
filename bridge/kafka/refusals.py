"""What the brokers, or we of them, refuse until somebody changes a setting: what it is, and which key."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Final

from aiokafka.errors import (
    IllegalSaslStateError,
    InvalidSessionTimeoutError,
    InvalidTransactionTimeout,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

from bridge.error_text import error_text
from bridge.kafka.reach import is_no_answer
from consumer.trust import certificate_problem

_CREDENTIALS: Final = (SaslAuthenticationFailed, UnsupportedSaslMechanismError, IllegalSaslStateError)
_CREDENTIALS_REMEDY: Final = (
    "check kafka.username, kafka.password_file and kafka.sasl_mechanism, and start the bridge"
    " again; what is mended at the brokers needs no restart"
)

_REMEDIES: Final[Mapping[type[KafkaError], str]] = {
    InvalidSessionTimeoutError: "set kafka.session_timeout_s to what the brokers allow, from their"
    " group.min.session.timeout.ms to their group.max.session.timeout.ms, and start the bridge again",
    InvalidTransactionTimeout: "set kafka.transaction_timeout_s to what the brokers allow, no more than their"
    " transaction.max.timeout.ms, and start the bridge again",
    **dict.fromkeys(_CREDENTIALS, _CREDENTIALS_REMEDY),
}


def remedy_of_refusal(error: BaseException) -> str | None:
    """Return which key to set; None for trouble that passes by itself.

    The library wraps what it meets while joining a group into an error without a kind that only says its name.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return problem_of_certificate(error)[1]
    text = error_text(error)
    return next((remedy for kind, remedy in _REMEDIES.items() if kind.__name__ in text), None)


def refuses_credentials(error: BaseException) -> bool:
    """Whether the brokers do not take the credentials, also where the library wrapped that."""
    return any(kind.__name__ in error_text(error) for kind in _CREDENTIALS)


def problem_of_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, str]:
    """Return what is wrong with a broker's certificate, and the remedy."""
    problem, remedy = certificate_problem(error, table="kafka")
    return problem, remedy.replace("kafka.url", "kafka.bootstrap_servers")


def refusal_text(error: BaseException) -> str:
    """Return an error's words, or what it means where OpenSSL's or the library's own do not say it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"Kafka shows a certificate that {problem_of_certificate(error)[0]}"
    if refuses_credentials(error):
        return f"Kafka refuses the credentials ({error_text(error)})"
    return error_text(error)


def trouble_text(error: BaseException) -> str:
    """Return the same for a request: one that got no answer says so, whatever the library calls it."""
    if remedy_of_refusal(error) is None and is_no_answer(error):
        return f"Kafka did not answer ({error_text(error)})"
    return refusal_text(error)
