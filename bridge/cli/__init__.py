"""The command `ota-bridge`: what people and scripts type. Each command is a module that is imported when it runs.

Mistakes of the user end with a message and a documented exit code, never with a traceback.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App, CycloptsError, Parameter

from bridge.exit_codes import ExitCode
from bridge.version import VERSION

EXIT_CODES: Final = (
    "Every command ends with 0 when it did what was asked, 1 for something unexpected, 2 when the command line, the"
    " configuration or a topic has to be changed first, 3 when the gateway or the clouds refuse, 4 when Kafka, the"
    " gateway or a cloud does not answer, 5 when what was asked for is not there or is not what it should be."
)

_COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "run": ("run:run", "Run the bridge until it is stopped."),
    "listen": ("listen:listen", "Show what the gateway pushes; needs no Kafka."),
    "decrypt": ("decrypt:decrypt", "Look into one captured message, offline."),
    "events": ("events:events", "Follow the public log of changes."),
    "state": ("state:state", "Show the latest truth about one device."),
    "package": ("package:package", "Ask a cloud about one firmware package."),
    "baseline": ("baseline:baseline", "Have every device of an account asked about once."),
    "lookup": ("lookup:lookup", "Ask the cloud now about one device."),
    "replay": ("replay:replay", "Fold the observations again; show what differs."),
    "dead-letters list": ("dead_letters:list_letters", "List dead letters, and count them."),
    "dead-letters show": ("dead_letters:show", "Show one with its payload."),
    "dead-letters replay": (
        "dead_letter_replay:replay",
        "Decode again with today's code and keys, and have the cloud asked about the devices.",
    ),
    "device confirm": ("device:confirm", "Confirm that an offered upgrade shall start (tuya-cloud)."),
    "device upgrade": ("device:upgrade", "Have devices upgraded to the version on offer (illume)."),
    "space sync": ("space:sync", "Have the cloud look anew for updates in a space (illume)."),
    "topics create": ("topics:create", "Create what is missing, check the rest."),
    "topics check": ("topics:check", "Check the topics; create nothing."),
    "schemas export": ("schemas:export", "Write JSON Schemas and an AsyncAPI document."),
    "config example": ("config:example", "Print a complete file to start from."),
    "check-config": ("config:check", "Tell every mistake in a configuration."),
    "version": ("version:version", "Print the version."),
}
"""Each with its function, and the line that the lists of commands show, for which it is not imported."""

_GROUPS: Final = {
    "dead-letters": "What could not be understood.",
    "device": "What changes a device; asks before it acts.",
    "space": "What changes a space of the lighting cloud; asks before it acts.",
    "topics": "Create and check the bridge's Kafka topics.",
    "schemas": "The records' schemas, for other languages.",
    "config": "The configuration file.",
}


_HELP: Final = frozenset({"--help", "-h"})


def application(arguments: Sequence[str] = ()) -> App:
    """Return the tree of commands. None is imported yet; the one that the arguments name will show its own help."""
    app = App(
        name="ota-bridge",
        help="One truth about firmware upgrades: from the Tuya message gateway and firmware APIs to Kafka.",
        help_epilogue=EXIT_CODES if not arguments or arguments[0].startswith("-") else None,
        version=VERSION,
        version_flags=["--version"],
        console=_help_console() if _asks_for_help(arguments) else None,
        default_parameter=Parameter(negative_iterable=(), show_default=_shown_default),
        error_formatter=_wrong_command_line,
        result_action="return_value",
    )
    groups = {name: App(name=name, help=text) for name, text in _GROUPS.items()}
    for words, (function, line) in _COMMANDS.items():
        group, _, name = words.rpartition(" ")
        named = tuple(words.split())
        is_called = tuple(arguments[: len(named)]) == named
        parent = groups[group] if group else app
        parent.command(f"bridge.cli.{function}", name=name, help=None if is_called else line)
    for each in groups.values():
        app.command(each)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # What a terminal's encoding cannot say is shown as an escape: no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from bridge.cli.failure import CommandFailed, is_out_of_room, not_written
    from bridge.config.problems import ConfigurationError

    try:
        code = int(application(arguments)(list(arguments)) or ExitCode.OK)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        code = ExitCode.USAGE
    except CommandFailed as error:
        print(error, file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`).
        code = ExitCode.OK
    except OSError as error:
        if not is_out_of_room(error):
            raise
        failure = not_written(error)
        print(failure, file=sys.stderr)
        code = failure.exit_code
    try:
        if sys.stdout is not None:  # it is where the process was started without one
            sys.stdout.flush()
    except OSError as error:
        # What is left of the output goes nowhere: Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if code == ExitCode.OK and not isinstance(error, BrokenPipeError):
            print(not_written(error), file=sys.stderr)
            code = ExitCode.UNEXPECTED
    return code


def _asks_for_help(arguments: Sequence[str]) -> bool:
    return (
        not arguments or (len(arguments) == 1 and arguments[0] in _GROUPS) or not _HELP.isdisjoint(arguments)
    )


def _help_console() -> Any:
    from bridge.cli.console import CommandConsole

    return CommandConsole()


def _shown_default(value: object) -> Any:
    """Return what the help shows as a default: nothing where it is an option that was not given."""
    return value if value not in ((), False) else None


def _wrong_command_line(error: CycloptsError) -> Any:
    from bridge.cli.usage import wrong_command_line

    return wrong_command_line(error)
