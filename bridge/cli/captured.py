"""Reads what somebody captured: an envelope as it stood on the topic, a dead letter, or a frame of the WebSocket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bridge.cli.failure import CommandFailed
from bridge.exit_codes import ExitCode
from bridge.typed import exists, no_such_file, typed_file
from schemas.unreadable import UNREADABLE

_MOST_BYTES: Final = 16 * 1024 * 1024
_FOLDS_OWN: Final = "observations/"


class Captured(Struct, frozen=True, kw_only=True):
    """A message, and what is known beside it."""

    payload: bytes
    properties: dict[str, str] = {}
    account: str | None = None
    source_position: str | None = None
    received_at_ms: int | None = None


class _Record(Struct, frozen=True, kw_only=True):
    """What dead letters and WebSocket frames have in common: the payload in base64, the properties beside it."""

    payload: bytes
    properties: dict[str, str] = {}
    account: str | None = None
    source_position: str | None = None
    received_at_ms: int | None = None
    payload_bytes: int | None = None


class _Any(Struct, frozen=True):
    """Any object: one of many lines, or all of a message."""


class _Line(Struct, frozen=True):
    """A line of `listen --json`."""

    dead_letter: msgspec.Raw


def read_captured(file: str) -> Captured:
    """Read a file, or standard input where its name is `-`. Raises CommandFailed for what holds no message."""
    try:
        if file == "-":
            if sys.stdin.isatty():
                print("Paste the message, then end with Ctrl-D.", file=sys.stderr)
            content = sys.stdin.buffer.read(_MOST_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        if not exists(file):
            raise CommandFailed(
                ExitCode.USAGE,
                f"FILE: {no_such_file(file)}. Name a file that holds the message; the message"
                " itself goes to standard input.",
            ) from error
        raise CommandFailed(ExitCode.USAGE, f"Cannot read {typed_file(file)}: {error.strerror}.") from error
    where = "standard input" if file == "-" else typed_file(file)
    if len(content) > _MOST_BYTES:
        raise CommandFailed(
            ExitCode.DATA, f"{where} is larger than any message: {_MOST_BYTES} bytes are read."
        )
    if not content.strip():
        raise CommandFailed(ExitCode.DATA, f"There is no message in {where}.")
    count = _lines_of_json(content.strip())
    if count > 1:
        raise CommandFailed(
            ExitCode.DATA,
            f"{where} holds {count} lines of JSON. Give one message at a time: `sed -n 2p FILE | ota-bridge decrypt`"
            " looks into the second.",
        )
    return captured(content.strip())


def captured(content: bytes) -> Captured:
    """Tell the forms apart: an envelope has no `payload`, everything else carries it there in base64."""
    content = _unwrapped(content)
    try:
        record = msgspec.json.decode(content, type=_Record)
    except UNREADABLE:
        return Captured(payload=content)
    if record.source_position is not None and record.source_position.startswith(_FOLDS_OWN):
        raise CommandFailed(
            ExitCode.DATA,
            "This dead letter is the fold's own: its payload is an observation and not encrypted."
            " `ota-bridge dead-letters show` shows it.",
        )
    if record.payload_bytes is not None and record.payload_bytes > len(record.payload):
        raise CommandFailed(
            ExitCode.DATA,
            f"The payload of this dead letter was cut: {len(record.payload)} of {record.payload_bytes} bytes are left,"
            " so it cannot be decrypted.",
        )
    return Captured(
        payload=record.payload,
        properties=record.properties,
        account=record.account,
        source_position=record.source_position,
        received_at_ms=record.received_at_ms,
    )


def _lines_of_json(content: bytes) -> int:
    """Count the lines of a file that holds an object in each, as `listen --save` and `--json` write them; else 0."""
    lines = content.splitlines()
    try:
        for line in lines:
            msgspec.json.decode(line, type=_Any)
    except UNREADABLE:
        return 0
    return len(lines)


def _unwrapped(content: bytes) -> bytes:
    try:
        return bytes(msgspec.json.decode(content, type=_Line).dead_letter)
    except UNREADABLE:
        return content
