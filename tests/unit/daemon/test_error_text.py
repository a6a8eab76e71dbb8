"""An operator reads an error's kind once, whichever library it comes from."""

from __future__ import annotations

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaConnectionError, NodeNotReadyError

from bridge.error_text import error_text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KafkaConnectionError("Unable to bootstrap"), "KafkaConnectionError: Unable to bootstrap"),
        (NodeNotReadyError(), "NodeNotReadyError"),
        (GroupCoordinatorNotAvailableError(), "[Error 15] GroupCoordinatorNotAvailableError"),
        (ConnectionRefusedError(111, "refused"), "ConnectionRefusedError: [Errno 111] refused"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_kind_of_an_error_is_said_once(error: Exception, text: str) -> None:
    assert error_text(error) == text
