from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.restored_logging import restored_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Commands configure the process' logging; here many of them share one."""
    with restored_logging():
        yield
