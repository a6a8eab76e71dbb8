"""Every key of the configuration, read from the settings structs themselves: the example file and the reference page.

The texts are the docstrings beside the fields, so that code, example and page cannot drift apart.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from bridge.clouds.settings import ApiSettings
from bridge.config.environment import variable_of
from bridge.config.reader import is_secret
from bridge.config.settings import AccountSettings, EventSettings, EvidenceSettings, HttpSettings, LogSettings
from bridge.fold.policy import Policy
from bridge.kafka.settings import KafkaSettings
from consumer.settings import GatewaySettings

ALIAS: Final = "my-project"

SECTIONS: Final[tuple[tuple[str, type[msgspec.Struct]], ...]] = (
    ("kafka", KafkaSettings),
    ("http", HttpSettings),
    ("log", LogSettings),
    ("events", EventSettings),
    ("evidence", EvidenceSettings),
    (f"accounts.{ALIAS}", AccountSettings),
    (f"accounts.{ALIAS}.gateway", GatewaySettings),
    (f"accounts.{ALIAS}.api", ApiSettings),
    ("policy", Policy),
)

NOT_IN_THE_FILE: Final = frozenset(
    {
        "policy.progress_step",
        "policy.events_include",
        "policy.events_exclude",
        "policy.accounts_without_api",
    }
)
"""Fields of the policy that the daemon fills from other tables."""

PLACEHOLDERS: Final = {
    "kafka.bootstrap_servers": "localhost:9092",
    f"accounts.{ALIAS}.cloud": "tuya-cloud",
    f"accounts.{ALIAS}.access_id": "your-access-id",
    f"accounts.{ALIAS}.access_key_file": "access-key.txt",
    f"accounts.{ALIAS}.gateway.url": "pulsar+ssl://mqe.example.com:7285",
    f"accounts.{ALIAS}.gateway.subscription": "your-access-id-bridge",
    f"accounts.{ALIAS}.api.url": "https://openapi.example.com",
}
"""What the example shows for keys without a default."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One key: its place, the type and default as TOML writes them, and what it does."""

    path: str
    type: str
    default: str | None
    """None: without a default; `` (empty): may be left out."""
    text: str

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def settings_of(section: str, kind: type[msgspec.Struct]) -> Iterator[Setting]:
    """Yield a section's keys in the order of the struct."""
    texts = _texts(kind)
    for field in msgspec.structs.fields(kind):
        secret = is_secret(field.type)
        path = f"{section}.{field.name}{'_file' if secret else ''}"
        if path in NOT_IN_THE_FILE:
            continue
        yield Setting(
            path=path,
            type="file with the secret" if secret else _type_name(field.type),
            default=None if field.required else _toml(field.default),
            text=texts.get(field.name, ""),
        )


def example() -> str:
    """Return a complete configuration file: what has no default is set, the rest shown as a comment."""
    lines = [
        "# Configuration of ota-bridge. Keys in comments show their defaults.",
        "# Every key can also be set in the environment: kafka.prefix is "
        + variable_of("kafka.prefix")
        + ".",
        "# Secrets never stand in this file: name a file, or use the environment.",
    ]
    for section, kind in SECTIONS:
        lines += ["", f"[{section}]"]
        for setting in settings_of(section, kind):
            lines += textwrap.wrap(setting.text, 100, initial_indent="# ", subsequent_indent="# ")
            if setting.default is None:
                lines.append(f"{setting.key} = {_toml(PLACEHOLDERS[setting.path])}")
            else:
                lines.append(f"# {setting.key} ={' ' + setting.default if setting.default else ''}")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Return the tables of `docs/configuration.md`."""
    parts: list[str] = []
    for section, kind in SECTIONS:
        name = section.replace(ALIAS, "<alias>")
        parts += [f"## `[{name}]`", "", "| key | type | default | |", "|---|---|---|---|"]
        for setting in settings_of(section, kind):
            default = (
                "**required**"
                if setting.default is None
                else f"`{setting.default}`"
                if setting.default
                else "-"
            )
            text = setting.text.replace("|", "\\|")
            kind_name = setting.type.replace("|", "\\|")
            parts.append(f"| `{setting.key}` | {kind_name} | {default} | {text} |")
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _texts(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstring that follows each field; one that documents several fields stands at the last of them."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    texts: dict[str, str] = {}
    name: str | None = None
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif name is not None and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            texts[name] = " ".join(str(node.value.value).split())
            name = None
    return texts


def _type_name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"list of {_type_name(get_args(kind)[0])}s"
    kinds = [part for part in get_args(kind) or (kind,) if part is not type(None)]
    names = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return " or ".join(names[part] for part in kinds)


def _toml(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    if isinstance(value, str):
        return msgspec.json.encode(value).decode()
    return str(value)
