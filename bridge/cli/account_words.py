"""What is wrong with the account that `ota-bridge listen` was given, in the words of whoever described it."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Final

from bridge.cli.options import KEY_VARIABLE
from bridge.cli.reasons import CONFIGURED_KEYS
from bridge.config.environment import variable_of
from bridge.config.gateway import NEW_ALIAS

_OPTIONS: Final = {
    "access_key_file": "--access-key-file",
    "access_id": "--access-id",
    "gateway.url": "--url",
    "gateway.subscription": "--subscription",
    "gateway.topics": "--topic",
    "gateway.ca_file": "--ca-file",
    "gateway.sign_policy": "--sign-policy",
}
"""What a key of an account is called here."""
_ALIAS: Final = "[a-z0-9-]{1,40}"


class AccountWords:
    """Says what is wrong in the words of who typed it: an option where one was given, else the configuration's key."""

    def __init__(self, given: Container[str], *, is_new: bool) -> None:
        self._keys = {key: option for key, option in _OPTIONS.items() if is_new or key in given}
        self._is_new = is_new
        typed_key = "access_key" in given or "access_key_file" in given
        self.keys = "the access key given" if typed_key else CONFIGURED_KEYS

    def of(self, text: str) -> str:
        """Return a text of the configuration's checks or of the gateway's probe, which are about one account."""
        for key, option in self._keys.items():
            text = re.sub(rf"accounts\.{_ALIAS}\.{re.escape(key)}\b", option, text)
        if self._is_new:
            text = text.removeprefix(f"account {NEW_ALIAS}: ")
            # The variable of a configuration's account of that name would only stand beside the option.
            text = text.replace(variable_of(f"accounts.{NEW_ALIAS}.access_key"), KEY_VARIABLE)
            text = text.replace(
                ", or say so by name: tls_verify = false", "; only a configuration can say otherwise"
            )
        for theirs in (", and start the bridge again", "; it is relative to the configuration file"):
            text = text.replace(theirs, "")
        return text

    def sentence(self, text: str, host: str) -> str:
        """Return one sentence; a host's name keeps its own letters at the beginning."""
        text = self.of(text)
        return f"The gateway {text}." if text.startswith(host) else f"{text[:1].upper()}{text[1:]}."
