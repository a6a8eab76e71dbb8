"""The command `ota-bridge`: what people and scripts type. Each command is a module that is imported when it runs.

Mistakes of the user end with a message and a documented exit code, never with a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import App

from bridge.exit_codes import ExitCode
from bridge.version import VERSION


def application() -> App:
    """Return the tree of commands; their modules are not imported yet."""
    app = App(
        name="ota-bridge",
        help="One truth about firmware upgrades: from the Tuya message gateway and firmware APIs to Kafka.",
        version=VERSION,
        version_flags=["--version"],
        result_action="return_value",
    )
    app.command("bridge.cli.run:run", name="run", help="Run the bridge until it is stopped.")
    app.command(
        "bridge.cli.listen:listen", name="listen", help="Show what the gateway pushes; needs no Kafka."
    )
    app.command("bridge.cli.decrypt:decrypt", name="decrypt", help="Look into one captured message, offline.")
    app.command("bridge.cli.events:events", name="events", help="Follow the public log of changes.")
    app.command("bridge.cli.state:state", name="state", help="Show the latest truth about one device.")
    letters = App(name="dead-letters", help="What could not be understood.")
    letters.command(
        "bridge.cli.dead_letters:list_letters", name="list", help="List dead letters, and count them."
    )
    letters.command("bridge.cli.dead_letters:show", name="show", help="Show one with its payload.")
    letters.command(
        "bridge.cli.dead_letter_replay:replay",
        name="replay",
        help="Decode again with today's code and keys, and have the cloud asked about the devices.",
    )
    app.command(letters)
    topics = App(name="topics", help="Create and check the bridge's Kafka topics.")
    topics.command("bridge.cli.topics:create", name="create", help="Create what is missing, check the rest.")
    topics.command("bridge.cli.topics:check", name="check", help="Check the topics; create nothing.")
    app.command(topics)
    schemas = App(name="schemas", help="The records' schemas, for other languages.")
    schemas.command(
        "bridge.cli.schemas:export", name="export", help="Write JSON Schemas and an AsyncAPI document."
    )
    app.command(schemas)
    config = App(name="config", help="The configuration file.")
    config.command("bridge.cli.config:example", name="example", help="Print a complete file to start from.")
    app.command(config)
    app.command("bridge.cli.config:check", name="check-config", help="Tell every mistake in a configuration.")
    app.command("bridge.cli.version:version", name="version", help="Print the version.")
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def run_command(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from bridge.cli.failure import CommandFailed
    from bridge.config.problems import ConfigurationError

    try:
        return int(application()(list(arguments)) or ExitCode.OK)
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return ExitCode.USAGE
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); Python would complain once more while it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
