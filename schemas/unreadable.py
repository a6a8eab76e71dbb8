"""What decoding raises for a record that is not what it should be: more than the library's own errors."""

from __future__ import annotations

from typing import Final

from msgspec import MsgspecError

UNREADABLE: Final = (MsgspecError, UnicodeDecodeError, RecursionError)
"""Not as described; text that is no UTF-8; nested deeper than the decoder goes."""
