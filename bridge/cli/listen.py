"""`ota-bridge listen`: the gateway on a terminal, by the path that the daemon's messages take, without Kafka."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import uvloop
from cyclopts import Parameter, validators

from bridge.cli.account_words import AccountWords
from bridge.cli.failure import CommandFailed
from bridge.cli.kept_letters import KeptLetters
from bridge.cli.listening import JsonScreen, Notes, Screen, ScreenSink, TextScreen
from bridge.cli.options import DEFAULT_CONFIG, KEY_VARIABLE, AsJson, ConfigFile, wants_json
from bridge.config import LogSettings, load_gateway
from bridge.config.environment import FromEnvironment
from bridge.config.gateway import ListenedGateway
from bridge.config.problems import ConfigurationError, Problem
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from consumer.errors import Misconfigured, NoAccountLeft
from consumer.ingest import Ingest
from consumer.probe import probe
from consumer.settings import GatewayAccount
from consumer.sink import SinkClosed
from consumer.trust import address

URL_VARIABLE: Final = "OTA_BRIDGE_URL"
ID_VARIABLE: Final = "OTA_BRIDGE_ACCESS_ID"
SUBSCRIPTION_VARIABLE: Final = "OTA_BRIDGE_SUBSCRIPTION"
"""With the key's variable an account in the environment; a configuration that is named leaves it out."""

_CLOSE_S: Final = 3.0
"""Showing and acknowledging what was received takes milliseconds."""
_POLL_S: Final = 0.2

_positive = validators.Number(gt=0)


def listen(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    account: Annotated[
        str | None, Parameter(help="Which configured account; needed where several have a gateway.")
    ] = None,
    url: Annotated[
        str | None, Parameter(help=f"The gateway, pulsar+ssl://host:7285 (or in {URL_VARIABLE}).")
    ] = None,
    access_id: Annotated[
        str | None, Parameter(help=f"The cloud project's Access ID (or in {ID_VARIABLE}).")
    ] = None,
    access_key_file: Annotated[
        Path | None,
        Parameter(help=f"File with the project's Access Secret (or the secret itself in {KEY_VARIABLE})."),
    ] = None,
    subscription: Annotated[
        str | None,
        Parameter(
            help="A subscription made for listening: what is shown is consumed, nobody else gets it from there"
            f" (or in {SUBSCRIPTION_VARIABLE})."
        ),
    ] = None,
    topic: Annotated[
        tuple[str, ...],
        Parameter(help="event (default), event-test or notice; may be given several times.", negative=()),
    ] = (),
    ca_file: Annotated[
        Path | None, Parameter(help="PEM file of the authority that signed the gateway's certificate.")
    ] = None,
    sign_policy: Annotated[
        Literal["require", "warn"] | None,
        Parameter(help="warn shows messages with a wrong signature as well, and counts them."),
    ] = None,
    shared: Annotated[
        bool,
        Parameter(
            help="Take messages from the daemon's own subscription: it will never see them.", negative=()
        ),
    ] = False,
    limit: Annotated[
        int | None,
        Parameter(
            help="End after this many lines. What is not shown is not acknowledged and comes again.",
            validator=_positive,
        ),
    ] = None,
    seconds: Annotated[float | None, Parameter(help="End after this time.", validator=_positive)] = None,
    save: Annotated[
        Path | None,
        Parameter(
            help="Keep what is not understood in this new file, for `ota-bridge decrypt`: the messages as they came,"
            " still encrypted, one a line."
        ),
    ] = None,
    json: AsJson = None,
) -> None:
    """Show what the gateway pushes, verified, decrypted and decoded, until Ctrl-C. Needs no Kafka.

    Takes the account from a configuration, in which `[kafka]` may be missing, or from options or environment alone.

    What is shown is acknowledged, and so is what is filtered or only counted: this subscription gets it never again.
    What came and was not shown, because --limit was reached or nobody reads the output any more, is not acknowledged.
    The gateway knows of whole entries only, which may hold several messages: one that was not shown to its end comes
    again as a whole.

    Ends with 3 when the gateway refuses the account, with 4 when it cannot be reached.
    """
    if account is None and config == DEFAULT_CONFIG:
        access_id = access_id or os.environ.get(ID_VARIABLE)
    if access_id is not None:
        url = url or os.environ.get(URL_VARIABLE)
        subscription = subscription or os.environ.get(SUBSCRIPTION_VARIABLE)
    given: dict[str, Any] = {
        "access_id": access_id,
        "access_key_file": None if access_key_file is None else str(access_key_file.absolute()),
        "gateway.url": url,
        "gateway.subscription": subscription,
        "gateway.topics": list(topic) or None,
        "gateway.ca_file": None if ca_file is None else str(ca_file.absolute()),
        "gateway.sign_policy": sign_policy,
    }
    if access_id is not None and access_key_file is None and KEY_VARIABLE in os.environ:
        given["access_key"] = FromEnvironment(KEY_VARIABLE, os.environ[KEY_VARIABLE])
    given = {key: value for key, value in given.items() if value is not None}
    if access_id is not None and account is None:
        _require_all(given)
    words = AccountWords(given, is_new=account is None and access_id is not None)
    listened = _load(config, account, given, words)
    if listened.is_daemons and not shared:
        raise CommandFailed(
            ExitCode.USAGE,
            f"The subscription {listened.account.gateway.subscription} is the one that `ota-bridge run` reads"
            f" ({config}): what is shown here, the daemon would never see. Make another subscription in the cloud's"
            " console and name it with --subscription, or take the daemon's messages on purpose with --shared.",
        )
    keys = [listened.account.access_key, listened.account.previous_access_key]
    redact = Redactor(key for key in keys if key is not None)
    configure_logs(LogSettings(level="warning"), redact)
    # Ctrl-C ends listening with the summary; before that, while the gateway is asked, it ends the command.
    try:
        with (
            contextlib.nullcontext() if save is None else KeptLetters(save) as kept,
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            screen: Screen = (
                JsonScreen()
                if wants_json(json)
                else TextScreen(keys=words.keys, kept=None if kept is None else kept.name)
            )
            listening = _Listening(
                listened.account,
                screen,
                words,
                limit=limit,
                seconds=seconds,
                keep=None if kept is None else kept.add,
            )
            runner.run(listening.run())
    except CommandFailed as failed:
        if failed.exit_code == ExitCode.USAGE:
            raise
        # A key that was given for a subscription's name would stand in what is said about the gateway.
        raise CommandFailed(failed.exit_code, redact(str(failed))) from failed


def _load(config: Path, account: str | None, given: dict[str, Any], words: AccountWords) -> ListenedGateway:
    """Return the account; what is wrong with an option is told by the option's name."""
    try:
        return load_gateway(config, account, given, optional_file=config == DEFAULT_CONFIG)
    except ConfigurationError as error:
        told = [
            Problem(words.of(each.path), words.of(each.what), words.of(each.remedy))
            for each in error.problems
        ]
        raise ConfigurationError(error.source, told) from error


def _require_all(given: dict[str, Any]) -> None:
    options = {
        "gateway.url": "--url",
        "access_key_file": f"--access-key-file (or {KEY_VARIABLE})",
        "gateway.subscription": "--subscription",
    }
    missing = [option for key, option in options.items() if key not in given]
    if "access_key" in given:
        missing = [option for option in missing if KEY_VARIABLE not in option]
    if missing:
        raise CommandFailed(ExitCode.USAGE, f"With --access-id also say {', '.join(missing)}.")


class _Listening:
    """One account's stage one with a screen behind it, until somebody has seen enough."""

    def __init__(
        self,
        account: GatewayAccount,
        screen: Screen,
        words: AccountWords,
        *,
        limit: int | None,
        seconds: float | None,
        keep: Callable[[bytes], None] | None,
    ) -> None:
        self._account = account
        self._screen = screen
        self._words = words
        self._seconds = seconds
        self._stop = asyncio.Event()
        self._sink = ScreenSink(screen, limit=limit, enough=self._stop.set, keep=keep)
        self._is_over = False

    async def run(self) -> None:
        """Listen. Raises CommandFailed for what the gateway refuses."""
        try:
            stage = Ingest([self._account], self._sink, close_deadline_s=_CLOSE_S)
            await self._ask()
        except Misconfigured as mistake:
            raise CommandFailed(ExitCode.USAGE, self._sentence(str(mistake))) from mistake
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        if self._seconds is not None:
            loop.call_later(self._seconds, self._time_is_over)
        began_s = loop.time()
        notes = asyncio.create_task(self._note(stage, began_s))
        is_refused = await self._listen(stage)
        notes.cancel()
        account = stage.statistics().accounts[self._account.name]
        try:
            self._screen.summary(account, self._sink.shown, loop.time() - began_s)
        except OSError:
            # What the output did not take before it will not take now, and that is what there is to tell.
            if self._sink.failure is None:
                raise
        if self._sink.failure is not None:
            raise self._sink.failure
        if is_refused:
            raise CommandFailed(
                ExitCode.REFUSED, self._sentence(account.message or "the gateway refuses the account")
            )
        if self._is_over and not account.subscriptions:
            told = f"no connection within {self._seconds:g} s"
            raise CommandFailed(ExitCode.UNREACHABLE, self._sentence(account.message or told))

    async def _ask(self) -> None:
        """Ask the gateway before listening: its answer is there at once, the client's would be a timeout."""
        result = await probe(self._account)
        if result.outcome != "accepted":
            code = ExitCode.REFUSED if result.refused else ExitCode.UNREACHABLE
            raise CommandFailed(code, self._sentence(result.message))

    async def _listen(self, stage: Ingest) -> bool:
        """Run stage one to its end; tell whether the gateway refused the account meanwhile."""
        try:
            try:
                await stage.run(self._stop)
            except* SinkClosed:
                # The account ended in the middle of a batch: what was not shown stays unacknowledged.
                pass
        except NoAccountLeft:
            return True
        return False

    def _time_is_over(self) -> None:
        self._is_over = True
        self._stop.set()

    async def _note(self, stage: Ingest, began_s: float) -> None:
        """Tell somebody who watches a terminal that it listens, and what comes while nothing is to show."""
        notes = Notes(self._account.gateway)
        loop = asyncio.get_running_loop()
        while sys.stderr.isatty():
            account = stage.statistics().accounts[self._account.name]
            told = notes.due(account, self._sink.shown.lines, loop.time() - began_s)
            if told is not None:
                print(told, file=sys.stderr, flush=True)
            await asyncio.sleep(_POLL_S)

    def _sentence(self, text: str) -> str:
        host, *_ = address(self._account.gateway.url)
        return self._words.sentence(text, host)
