"""`ota-bridge decrypt`: one captured message, offline: who signed it, what is in it, what the bridge makes of it."""

from __future__ import annotations

import json as text_json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from cyclopts import Parameter
from msgspec import Struct
from rich.text import Text

from bridge.cli.captured import Captured, read_captured
from bridge.cli.console import console, print_rows, write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.lines import full_time
from bridge.cli.options import DEFAULT_CONFIG, KEY_VARIABLE, AsJson, ConfigFile, wants_json
from bridge.cli.push_lines import observation_line
from bridge.cli.reasons import ALTERED_OR_OTHER_RULE, CONFIGURED_KEYS, remedy_of
from bridge.config import LogSettings, load_accounts
from bridge.config.environment import variable_of
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.typed import exists, no_such_file, printable, typed, typed_file
from consumer.captured import NOWHERE, CapturedMessage, Judgement, judge
from consumer.errors import Misconfigured
from consumer.examination import Examination, examine
from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings

_GIVEN: Final = "given"
"""The name of an account of which only the key is known."""
_ENCRYPTIONS: Final = ("aes_gcm", "aes_ecb")
_ACCOUNTS: Final = variable_of("accounts.")
"""How the variables begin that describe accounts."""


class _Found(Struct, frozen=True, kw_only=True):
    """Everything that is told about a message."""

    encryption: str | None
    examination: Examination
    judgement: Judgement
    opens_with: str | None
    """The other `em` that would decrypt it."""
    keys: str
    """Where the keys came from."""
    is_pasted: bool
    """Whether somebody captured it; a dead letter is whole."""

    @property
    def is_good(self) -> bool:
        """Whether it is signed by one of the keys, and the bridge would take it."""
        return not self.examination.refusals and self.judgement.dead_letter is None

    def remedy(self, reason: str) -> str:
        """Return what to do, as far as the message itself tells."""
        if reason == "bad_signature":
            return self._remedy_of_signature()
        if reason not in ("undecryptable", "malformed_body"):
            return remedy_of(reason, keys=self.keys, captured=self.is_pasted)
        if self.opens_with is not None:
            return f"with --em {self.opens_with} it can be read"
        if self.examination.signature is None:
            return f"first check {self.keys}: the same key signs and encrypts"
        told = "report it to the platform"
        if reason == "malformed_body":
            return told
        return f"the signature is right, so the key is: check --em; if that is the message's own, {told} as damaged"

    def _remedy_of_signature(self) -> str:
        if self.examination.body is None and self.opens_with is None:
            return f"no known key signed it, and none opens it: check {self.keys}"
        return f"a known key opens it, so that one is right: {ALTERED_OR_OTHER_RULE}"


def decrypt(
    file: Annotated[
        str,
        Parameter(
            help="The message: its outer JSON, or a dead letter as JSON; - is standard input.",
            allow_leading_hyphen=True,
        ),
    ] = "-",
    /,
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

    Ends with 0 when one of the keys signed it and the bridge would understand it, else with 5; both show what can be
    shown. That may hold personal data of the device's owner.
    """
    if file.startswith("-") and file != "-":
        raise CommandFailed(
            ExitCode.USAGE,
            f"Unknown option: {typed(file.partition('=')[0])}. See `ota-bridge decrypt --help`.",
        )
    accounts = _accounts(config, account, access_key_file)
    secrets = [key for each in accounts for key in (each.access_key, each.previous_access_key)]
    # What the stage would log about this message is shown anyway.
    configure_logs(LogSettings(level="error"), Redactor(key for key in secrets if key is not None))
    message = read_captured(file)
    if message.account is not None:
        accounts = sorted(accounts, key=lambda each: each.name != message.account)
    try:
        found = _examined(message, em or message.properties.get("em"), accounts)
    except Misconfigured as mistake:
        raise CommandFailed(ExitCode.USAGE, f"{str(mistake)[:1].upper()}{str(mistake)[1:]}.") from mistake
    if wants_json(json):
        _write(found)
    else:
        _show(found)
    return ExitCode.OK if found.is_good else ExitCode.DATA


def _accounts(config: Path, name: str | None, key_file: Path | None) -> list[GatewayAccount]:
    """Return the accounts whose keys are tried."""
    key = os.environ.get(KEY_VARIABLE)
    if key_file is not None:
        try:
            key = key_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            if not exists(key_file):
                raise CommandFailed(
                    ExitCode.USAGE,
                    f"--access-key-file: {no_such_file(key_file)}. Name the file that holds the Access Secret, or put"
                    f" the secret itself into {KEY_VARIABLE}.",
                ) from error
            told = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise CommandFailed(ExitCode.USAGE, f"Cannot read {typed_file(key_file)}: {told}.") from error
    if key is not None and name is None:
        return [_account_of(Secret(key.strip()))]
    configured = _configured(config)
    accounts = [each for each in configured if name in (None, each.name)]
    if not accounts:
        known = ", ".join(each.name for each in configured) or "none"
        wanted = "account with a gateway" if name is None else f"account {typed(name)} with a gateway"
        raise CommandFailed(
            ExitCode.USAGE,
            f"{typed_file(config)} has no {wanted} (it has {known}). Name one of them with --account, or the file with"
            " the Access Secret with --access-key-file.",
        )
    return accounts


def _configured(config: Path) -> list[GatewayAccount]:
    is_default = config == DEFAULT_CONFIG
    if is_default and not config.exists() and not any(each.startswith(_ACCOUNTS) for each in os.environ):
        raise CommandFailed(
            ExitCode.USAGE,
            "No key to try. Name the file that holds the Access Secret with --access-key-file, or a configuration with"
            f" -c (there is no {config} here).",
        )
    return [
        each.gateway for each in load_accounts(config, optional_file=is_default) if each.gateway is not None
    ]


def _account_of(key: Secret) -> GatewayAccount:
    return GatewayAccount(
        name=_GIVEN,
        cloud="tuya-cloud",
        access_id=_GIVEN,
        access_key=key,
        gateway=GatewaySettings(url="pulsar+ssl://localhost", subscription=_GIVEN),
    )


def _examined(message: Captured, encryption: str | None, accounts: Sequence[GatewayAccount]) -> _Found:
    examination = examine(message.payload, encryption, accounts)
    others = [
        each
        for each in _ENCRYPTIONS
        if examination.body is None
        and examination.envelope is not None
        and examine(message.payload, each, accounts).body is not None
    ]
    return _Found(
        encryption=encryption,
        examination=examination,
        judgement=_judgement(message, encryption, accounts, examination),
        opens_with=others[0] if others else None,
        keys="the key given" if accounts[0].name == _GIVEN else CONFIGURED_KEYS,
        is_pasted=message.source_position is None,
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


def _write(found: _Found) -> None:
    examination, judgement = found.examination, found.judgement
    envelope, letter = examination.envelope, judgement.dead_letter
    told: dict[str, Any] = {
        "envelope": None
        if envelope is None
        else {"protocol": envelope.protocol, "pv": envelope.pv, "t": envelope.t},
        "encryption": found.encryption or "aes_ecb",
        "signature": examination.signature,
        "decrypted_with": examination.decrypted_with,
        "body": examination.body,
        "refusals": [
            {"reason": each.reason, "detail": each.detail, "remedy": found.remedy(each.reason)}
            for each in examination.refusals
        ],
        "opens_with": found.opens_with,
        "dead_letter": None if letter is None else letter.reason,
        "dead_letter_detail": None if letter is None else letter.detail,
        "dead_letter_remedy": None if letter is None else found.remedy(letter.reason),
        "counted_as": judgement.counted_as,
        "observations": [
            msgspec.structs.replace(each, evidence=msgspec.structs.replace(each.evidence, position=None))
            for each in judgement.observations
        ],
    }
    write_json(told)


def _show(found: _Found) -> None:
    examination, screen = found.examination, console()
    print_rows(screen, _rows(found))
    if examination.body is not None:
        pretty = text_json.dumps(examination.body, indent=2, ensure_ascii=False)
        for line in pretty.splitlines():
            screen.print(Text(printable(line)))
    elif examination.plaintext is not None:
        screen.print(Text(printable(repr(examination.plaintext))))


def _rows(found: _Found) -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    examination, judgement = found.examination, found.judgement
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
        told = printable(found.encryption or "aes_ecb (no property em)")
        rows.append(
            ("encryption", Text(f"{told}, {_key(opened.account, opened.key)}"))
            if opened is not None
            else ("encryption", Text(f"{told}, not decrypted", "red"))
        )
    for refusal in examination.refusals:
        rows.append(("wrong", Text(f"{refusal.reason}: {printable(refusal.detail)}", "red")))
        rows.append(("", Text(f"{found.remedy(refusal.reason)}.")))
    letter = judgement.dead_letter
    if letter is not None:
        rows.append(
            (
                "the bridge",
                Text(f"with that key makes a dead letter of it, {letter.reason}: {printable(letter.detail)}"),
            )
        )
        if letter.reason not in {refusal.reason for refusal in examination.refusals}:
            rows.append(("", Text(f"{found.remedy(letter.reason)}.")))
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
