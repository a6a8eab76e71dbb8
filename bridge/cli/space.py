"""`ota-bridge space sync`: have the lighting cloud find out anew what can be updated in a space. It asks first."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from bridge.cli.acting import OfOneAccount, Yes, act, agreed
from bridge.cli.console import write_json
from bridge.cli.lighting import OfProject, lighting_account, project_of
from bridge.cli.options import DEFAULT_CONFIG, AsJson, ConfigFile, wants_json
from bridge.clouds.illume.actions import SYNC_API, IllumeActions
from bridge.clouds.shape import Means
from bridge.exit_codes import ExitCode
from bridge.typed import printable


def sync(
    room: Annotated[str, Parameter(help="The space's id (`room_id`).")],
    /,
    *,
    config: ConfigFile = DEFAULT_CONFIG,
    account: OfOneAccount = None,
    project: OfProject = None,
    yes: Yes = False,
    json: AsJson = None,
) -> int:
    """Have a lighting account's cloud (illume) find out anew which devices of a space can be updated.

    This changes the cloud's list, no device. It asks first; `--yes` answers beforehand.

    Ends with 3 when the cloud refuses, with 4 when it is not known whether it was done.
    """
    asked = lighting_account(config, account)
    project_id = project_of(asked, project)
    what = (
        f"The list of updates for space {printable(room)} of project {printable(project_id)} ({asked.name})"
        " will be made anew by the cloud."
    )
    is_wanted = agreed(what, yes=yes)

    async def work(means: Means) -> None:
        await IllumeActions(asked, means).sync_space(project_id, room)

    if is_wanted:
        act(asked, work, acting=SYNC_API)
    if wants_json(json):
        write_json({"account": asked.name, "project_id": project_id, "room_id": room, "accepted": is_wanted})
    else:
        print("Accepted." if is_wanted else "Nothing was done.")
    return ExitCode.OK
