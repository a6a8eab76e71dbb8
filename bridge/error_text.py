"""The one way an error of a library becomes words: its kind, said once, and what it says."""

from __future__ import annotations


def error_text(error: BaseException) -> str:
    """Return the error's kind and message. aiokafka's messages name their kind already, a TimeoutError says nothing."""
    kind, message = type(error).__name__, str(error)
    if not message:
        return kind
    return message if kind in message else f"{kind}: {message}"
