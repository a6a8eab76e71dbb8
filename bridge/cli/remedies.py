"""What to do about a failure, in words for a command: it asks once, and the keys are those of the account it asked.

The errors of clouds and brokers have remedies for the daemon, which tries again by itself and has to be started again
to read its configuration anew.
"""

from __future__ import annotations

import re
from typing import Final

from bridge.clouds.errors import NO_REMEDY

_RESTART: Final = re.compile(r",? and start the bridge again|; what is mended at the [a-z]+ [^;]*$")
_IN_ACCOUNT: Final = "the account's api."


def remedy_for_command(remedy: str, account: str | None = None, *, bridge_asked: bool = False) -> str | None:
    """Return a remedy's words for a command; None where there is none.

    What the running bridge was asked for it reads again only after a new start: `bridge_asked` keeps that.
    """
    if remedy == NO_REMEDY:
        return None
    told = remedy.replace(NO_REMEDY, "try again later")
    if not bridge_asked:
        told = _RESTART.sub("", told)
    if account is not None:
        told = told.replace(_IN_ACCOUNT, f"accounts.{account}.api.")
    return told
