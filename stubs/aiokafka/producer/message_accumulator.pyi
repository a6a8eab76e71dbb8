from collections.abc import Sequence
from typing import Protocol

class _AppendedRecord(Protocol):
    """What the record builder tells about an appended record."""

    @property
    def offset(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def timestamp(self) -> int: ...

class BatchBuilder:
    """Made by `create_batch` only. `timestamp` is in Unix ms, whatever the library's docstring says."""

    def append(
        self,
        *,
        timestamp: int | None,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = ...,
    ) -> _AppendedRecord | None: ...
    def close(self) -> None: ...
    def record_count(self) -> int: ...
    def size(self) -> int: ...
