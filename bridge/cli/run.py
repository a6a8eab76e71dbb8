"""`ota-bridge run`: the daemon."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from bridge.cli.failure import CommandFailed
from bridge.cli.options import DEFAULT_CONFIG, ConfigFile
from bridge.config import load
from bridge.daemon import run_daemon
from bridge.exit_codes import ExitCode
from bridge.logs import Redactor, configure_logs
from bridge.stages import STAGES, StageName


def run(
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    stage: Annotated[
        tuple[StageName, ...],
        Parameter(help="Run only this stage; may be given several times. All three by default.", negative=()),
    ] = (),
) -> int:
    """Run the bridge until it is stopped by SIGTERM or Ctrl-C.

    Ends with 2 when the configuration or a topic is wrong, with 3 when all of its accounts have a gateway and all are
    refused by it. Kafka and the clouds may be unreachable for as long as they like: that is waited for.
    """
    configuration = load(config)
    selected = tuple(name for name in STAGES if not stage or name in stage)
    if selected == ("consumer",) and not configuration.gateways:
        raise CommandFailed(
            ExitCode.USAGE, f"{config}: no account has a gateway, so the consumer has nothing to do."
        )
    if selected == ("reconcile",) and not configuration.apis:
        raise CommandFailed(
            ExitCode.USAGE, f"{config}: no account has an api, so reconcile has nothing to do."
        )
    redact = Redactor(configuration.secrets())
    configure_logs(configuration.log, redact)
    return run_daemon(configuration, selected, redact)
