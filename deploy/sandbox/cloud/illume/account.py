"""A lighting account: a Tuya cloud project with its lighting projects, whose devices are in rooms."""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from deploy.sandbox.cloud.fleet import Device
from deploy.sandbox.cloud.tuya.account import TuyaAccount, new_tuya_account

_DEVICES_PER_ROOM = 12
_FIRST_ROOM = 234_761_000


class IllumeAccount(TuyaAccount, frozen=True, kw_only=True):
    """An account with two lighting projects; `takes` is where its deployment looks for the parameters of a GET."""

    project_ids: tuple[str, str]
    takes: Literal["query", "body"] = "body"

    def describe(self) -> dict[str, object]:
        """What `sandbox.json` says of it, beside where it is found."""
        return super().describe() | {"project_ids": list(self.project_ids)}

    def project_of(self, device: Device) -> str:
        """The lighting project that a device belongs to."""
        return self.project_ids[device.number % len(self.project_ids)]

    def room_of(self, device: Device) -> str:
        """The room that it hangs in."""
        return str(_FIRST_ROOM + device.number // _DEVICES_PER_ROOM)


def new_illume_account(name: str) -> IllumeAccount:
    """Make an account with fresh random credentials and project ids in the vendor's shape."""
    project = new_tuya_account(name, "illume")
    ids = [f"14{secrets.randbelow(10**17):017d}" for _ in range(2)]
    return IllumeAccount(**msgspec.structs.asdict(project), project_ids=(ids[0], ids[1]))
