"""`ota-bridge decrypt`: one captured message, offline: who signed it, what is in it, what the bridge makes of it."""

from __future__ import annotations

import json as text_json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.cli.captured import Captured, read_captured
from bridge.cli.failure import CommandFailed
from bridge.cli.lines import full_time, printable
from bridge.cli.options import DEFAULT_CONFIG, KEY_VARIABLE, AsJson, ConfigFile, wants_json
from bridge.cli.push_lines import observation_line
from bridge.cli.reasons import remedy_of
from bridge.config import LogSettings, load_accounts
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from consumer.captured import NOWHERE, CapturedMessage, Judgement, judge
from consumer.errors import Misconfigured
from consumer.examination import Examination, examine
from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings

_GIVEN: Final = "given"
"""The name of an account of which only the key is known."""


def decrypt(
    file: Annotated[
        str,
        Parameter(
            help="The message: its outer JSON, or a dead letter as JSON; - is standard input.",
            allow_leading_hyphen=True,
        ),
    ] = "-",
    *,
    em: Annotated[
        Literal["aes_gcm", "aes_ecb"] | None,
        Parameter(help="The message's property em; without the property the platform means aes_ecb."),
    ] = None,
    access_key_file: Annotated[
        Path | None,
        Parameter(
            help=f"File with the Access Secret (or the secret itself in {KEY_VARIABLE});"
            " else the configured accounts' are tried.",
        ),
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    account: Annotated[str | None, Parameter(help="Try only the keys of this account.")] = None,
    json: AsJson = None,
) -> int:
    """Check a captured message's signature, decrypt it and show what is in it. Needs no network.

    Ends with 5 when it cannot be decrypted. What is shown may hold personal data of the device's owner.
    """
    accounts = _accounts(config, account, access_key_file)
    secrets = [key for each in accounts for key in (each.access_key, each.previous_access_key)]
    # What the stage would log about this message is shown anyway.
    configure_logs(LogSettings(level="error"), Redactor(key for key in secrets if key is not None))
    message = read_captured(file)
    if message.account is not None:
        accounts = sorted(accounts, key=lambda each: each.name != message.account)
    encryption = em or message.properties.get("em")
    try:
        examination = examine(message.payload, encryption, accounts)
        judgement = _judgement(message, encryption, accounts, examination)
    except Misconfigured as mistake:
        raise CommandFailed(ExitCode.USAGE, f"{mistake}.") from mistake
    if wants_json(json):
        sys.stdout.write(_json(encryption, examination, judgement) + "\n")
    else:
        _show(encryption, examination, judgement)
        if examination.body is None and encryption is None and examination.envelope is not None:
            print(
                "It was read as aes_ecb, since no property em was given: --em tells another.", file=sys.stderr
            )
    return ExitCode.DATA if examination.body is None else ExitCode.OK


def _accounts(config: Path, name: str | None, key_file: Path | None) -> list[GatewayAccount]:
    """Return the accounts whose keys are tried."""
    key = os.environ.get(KEY_VARIABLE)
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            told = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise CommandFailed(ExitCode.USAGE, f"Cannot read {key_file}: {told}.") from error
    if key is not None and name is None:
        return [_account_of(Secret(key.strip()))]
    configured = [
        each.gateway
        for each in load_accounts(config, optional_file=config == DEFAULT_CONFIG)
        if each.gateway is not None
    ]
    accounts = [each for each in configured if name in (None, each.name)]
    if not accounts:
        known = ", ".join(each.name for each in configured) or "none"
        raise CommandFailed(
            ExitCode.USAGE,
            f"{config} has no account {name or ''} with a gateway (it has {known}): name one with --account, or the"
            " key with --access-key-file.",
        )
    return accounts


def _account_of(key: Secret) -> GatewayAccount:
    return GatewayAccount(
        name=_GIVEN,
        cloud="tuya-cloud",
        access_id=_GIVEN,
        access_key=key,
        gateway=GatewaySettings(url="pulsar+ssl://localhost", subscription=_GIVEN),
    )


def _judgement(
    message: Captured, encryption: str | None, accounts: Sequence[GatewayAccount], examination: Examination
) -> Judgement:
    """Return what the bridge would make of it, as the account to whose key it answers."""
    opened = examination.signature or examination.decrypted_with
    account = next((each for each in accounts if opened and each.name == opened.account), accounts[0])
    properties = {} if encryption is None else {"em": encryption}
    at_ms = message.received_at_ms or time.time_ns() // 1_000_000
    return judge(account, CapturedMessage(message.payload, properties, NOWHERE), at_ms)


def _json(encryption: str | None, examination: Examination, judgement: Judgement) -> str:
    told: dict[str, Any] = {
        "envelope": None,
        "encryption": encryption or "aes_ecb",
        "signature": examination.signature,
        "decrypted_with": examination.decrypted_with,
        "body": examination.body,
        "refusals": [
            {"reason": each.reason, "detail": each.detail, "remedy": remedy_of(each.reason)}
            for each in examination.refusals
        ],
        "dead_letter": None if judgement.dead_letter is None else judgement.dead_letter.reason,
        "counted_as": judgement.counted_as,
        "observations": [
            msgspec.structs.replace(each, evidence=msgspec.structs.replace(each.evidence, position=None))
            for each in judgement.observations
        ],
    }
    envelope = examination.envelope
    if envelope is not None:
        told["envelope"] = {"protocol": envelope.protocol, "pv": envelope.pv, "t": envelope.t}
    return msgspec.json.encode(told).decode()


def _show(encryption: str | None, examination: Examination, judgement: Judgement) -> None:
    table = Table(box=None, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for what, told in _rows(encryption, examination, judgement):
        table.add_row(what, told)
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    if examination.body is not None:
        pretty = text_json.dumps(examination.body, indent=2, ensure_ascii=False)
        for line in pretty.splitlines():
            console.print(Text(printable(line)))
    elif examination.plaintext is not None:
        console.print(Text(printable(repr(examination.plaintext))))


def _rows(encryption: str | None, examination: Examination, judgement: Judgement) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    envelope, signature = examination.envelope, examination.signature
    if envelope is not None:
        told = f"protocol {envelope.protocol}, pv {envelope.pv}, pushed {_when(envelope.t)}"
        rows.append(("envelope", Text(printable(told))))
        rows.append(
            ("signature", Text(f"{signature.rule}, {_key(signature.account, signature.key)}", "green"))
            if signature is not None
            else ("signature", Text("made by none of the keys tried", "red"))
        )
        opened = examination.decrypted_with
        told = printable(encryption or "aes_ecb (no property em)")
        rows.append(
            ("encryption", Text(f"{told}, {_key(opened.account, opened.key)}"))
            if opened is not None
            else ("encryption", Text(f"{told}, not decrypted", "red"))
        )
    for refusal in examination.refusals:
        rows.append(("wrong", Text(f"{refusal.reason}: {printable(refusal.detail)}", "red")))
        rows.append(("", Text(f"{remedy_of(refusal.reason)}.")))
    letter = judgement.dead_letter
    if letter is not None:
        rows.append(
            ("the bridge", Text(f"makes a dead letter of it, {letter.reason}: {printable(letter.detail)}"))
        )
    elif judgement.counted_as is not None:
        rows.append(("the bridge", Text(f"only counts it, {printable(judgement.counted_as)}")))
    rows += [("observation", observation_line(each)) for each in judgement.observations]
    return rows


def _key(account: str, key: str) -> str:
    return "by the key given" if account == _GIVEN else f"by the {key} key of account {account}"


def _when(at_ms: int) -> str:
    try:
        return full_time(at_ms)
    except (ValueError, OverflowError, OSError):
        return f"at {at_ms}, which is no time"
