"""`ota-bridge device confirm` and `device upgrade`: have a cloud start upgrades. Both ask before they act."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Final, cast

from cyclopts import Parameter, validators

from bridge.cli.acting import OfOneAccount, Yes, account_of, act, agreed
from bridge.cli.console import write_json
from bridge.cli.failure import CommandFailed
from bridge.cli.lighting import OfProject, lighting_account, project_of
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.clouds.illume.actions import UPGRADE_API, IllumeActions
from bridge.clouds.settings import ApiAccount
from bridge.clouds.shape import Means
from bridge.clouds.tuya.settings import TuyaApi, TuyaCredentials
from bridge.clouds.tuya_cloud.actions import CONFIRM_API, TuyaActions
from bridge.exit_codes import ExitCode
from bridge.typed import printable

_AT_ONCE: Final = 100
"""The vendor names no limit for a call; its lists have pages of so many."""


def confirm(
    device: Annotated[str, Parameter(help="The device's id.")],
    /,
    *,
    channel: Annotated[
        int,
        Parameter(
            help="The firmware channel, as `ota-bridge state` shows it: 0 is the main module.",
            validator=validators.Number(gte=0),
        ),
    ],
    config: ConfigFile = DEFAULT_CONFIG,
    account: OfOneAccount = None,
    yes: Yes = False,
    json: AsJson = None,
) -> int:
    """Confirm that a device's offered upgrade shall start, for accounts of Tuya's IoT Core (tuya-cloud).

    This changes the device. It asks first; `--yes` answers beforehand. How the upgrade goes the bridge tells as always.

    Ends with 3 when the cloud refuses, with 4 when it is not known whether it was done, with 5 for an unknown device.
    """
    # The registry gives each cloud its own tables.
    asked = cast("ApiAccount[TuyaCredentials, TuyaApi]", account_of(config, "tuya-cloud", account))
    what = f"Channel {channel} of device {printable(device)} ({asked.name}) will be upgraded to the version on offer."
    is_wanted = agreed(what, yes=yes)

    async def work(means: Means) -> bool:
        return await TuyaActions(asked, means).confirm(device, str(channel))

    began = act(asked, work, acting=CONFIRM_API) if is_wanted else False
    if wants_json(json):
        write_json({"account": asked.name, "device_id": device, "channel": str(channel), "confirmed": began})
    elif not is_wanted:
        print("Nothing was done.")
    elif began:
        print(f"Confirmed. How it goes: ota-bridge state {printable(device)}")
    if is_wanted and not began:
        raise CommandFailed(
            ExitCode.REFUSED,
            f"{asked.name}: the cloud took the request, but does not say that the upgrade began. Look at the device.",
        )
    return ExitCode.OK


def upgrade(
    devices: Annotated[tuple[str, ...], Parameter(help="The devices' ids.", negative=())],
    /,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    account: OfOneAccount = None,
    project: OfProject = None,
    yes: Yes = False,
    json: AsJson = None,
) -> int:
    """Have devices upgraded to the version that is offered to each, for lighting accounts (illume).

    This changes the devices. It asks first; `--yes` answers beforehand. The cloud only says that it accepted; how each
    upgrade goes the bridge tells as always.

    Ends with 3 when the cloud refuses, with 4 when it is not known whether it was done, with 5 for an unknown device.
    """
    wanted = list(dict.fromkeys(devices))
    if not wanted:
        raise CommandFailed(ExitCode.USAGE, "Name at least one device.")
    asked = lighting_account(config, account)
    project_id = project_of(asked, project)
    which = f"Device {printable(wanted[0])}" if len(wanted) == 1 else f"{len(wanted)} devices"
    what = (
        f"{which} of project {printable(project_id)} ({asked.name}) will be upgraded to the version on offer."
    )
    accepted: list[str] = []
    if agreed(what, yes=yes):

        async def work(means: Means) -> None:
            actions = IllumeActions(asked, means)
            for start in range(0, len(wanted), _AT_ONCE):
                some = wanted[start : start + _AT_ONCE]
                await actions.upgrade(project_id, some)
                accepted.extend(some)

        try:
            act(asked, work, acting=UPGRADE_API)
        except CommandFailed:
            _tell_part(accepted, len(wanted))
            raise
    if wants_json(json):
        write_json({"account": asked.name, "project_id": project_id, "accepted": accepted})
    elif accepted:
        print(f"Accepted for {_count(accepted)}. How it goes: ota-bridge state {printable(accepted[0])}")
    else:
        print("Nothing was done.")
    return ExitCode.OK


def _tell_part(accepted: Sequence[str], wanted: int) -> None:
    """Say which requests before the one that failed were accepted: what the failure says is about that one."""
    if accepted:
        print(
            f"The first {len(accepted)} of {wanted} devices were accepted, up to {printable(accepted[-1])}."
            " Of the request after them:",
            file=sys.stderr,
        )


def _count(devices: Sequence[str]) -> str:
    return "1 device" if len(devices) == 1 else f"{len(devices)} devices"
