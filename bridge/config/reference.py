"""Every key of the configuration, read from the settings structs themselves: the example file and the reference page.

The texts are the docstrings beside the fields, so that code, example and page cannot drift apart.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, get_args, get_origin

import msgspec

from bridge.clouds.kind import CloudKind
from bridge.clouds.registry import CLOUDS
from bridge.clouds.settings import ApiSettings
from bridge.config.environment import variable_of
from bridge.config.reader import is_secret
from bridge.config.settings import AccountSettings, EventSettings, EvidenceSettings, HttpSettings, LogSettings
from bridge.fold.policy import Policy
from bridge.kafka.settings import KafkaSettings
from consumer.settings import GatewaySettings

ALIAS: Final = "my-project"
SHOWN_CLOUD: Final = "tuya-cloud"
"""The cloud of the example's account; accounts of the others are shown as comments."""

Sections = tuple[tuple[str, type[msgspec.Struct]], ...]
"""Tables and the structs that hold their keys; a table whose keys are in two structs stands there twice."""


def _account_sections(alias: str, kind: CloudKind[Any, Any]) -> Sections:
    path = f"accounts.{alias}"
    gateway: Sections = ((f"{path}.gateway", GatewaySettings),) if kind.has_gateway else ()
    return ((path, AccountSettings), (path, kind.credentials), *gateway, (f"{path}.api", kind.api))


SECTIONS: Final[Sections] = (
    ("kafka", KafkaSettings),
    ("http", HttpSettings),
    ("log", LogSettings),
    ("events", EventSettings),
    ("evidence", EvidenceSettings),
    *_account_sections(ALIAS, CLOUDS[SHOWN_CLOUD]),
    ("policy", Policy),
)

FURTHER: Final[Mapping[str, Sections]] = {
    cloud: _account_sections(f"my-{cloud}", kind) for cloud, kind in CLOUDS.items() if cloud != SHOWN_CLOUD
}
"""Accounts of the other clouds."""

NOT_IN_THE_FILE: Final = frozenset(
    {
        "policy.progress_step",
        "policy.events_include",
        "policy.events_exclude",
        "policy.accounts_without_api",
    }
)
"""Fields of the policy that the daemon fills from other tables."""

GATEWAY_PLACEHOLDERS: Final = {
    "gateway.url": "pulsar+ssl://mqe.example.com:7285",
    "gateway.subscription": "your-access-id-bridge",
}


def placeholders(alias: str, cloud: str) -> Mapping[str, object]:
    """Return what the example shows for an account's keys without a default, by path."""
    kind = CLOUDS[cloud]
    own = {"cloud": cloud, **(GATEWAY_PLACEHOLDERS if kind.has_gateway else {}), **kind.placeholders}
    return {f"accounts.{alias}.{key}": value for key, value in own.items()}


PLACEHOLDERS: Final[Mapping[str, object]] = {
    "kafka.bootstrap_servers": "localhost:9092",
    **placeholders(ALIAS, SHOWN_CLOUD),
    **{path: value for cloud in FURTHER for path, value in placeholders(f"my-{cloud}", cloud).items()},
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
    for section, settings in _tables(SECTIONS):
        lines += ["", f"[{section}]"]
        for setting in settings:
            lines += textwrap.wrap(setting.text, 100, initial_indent="# ", subsequent_indent="# ")
            lines.append(_line(setting))
    for cloud, sections in FURTHER.items():
        lines += ["", f"# An account of {CLOUDS[cloud].title}:"]
        for section, settings in _tables(sections):
            lines += ["#", f"# [{section}]"]
            # The tables in common are explained above.
            common = section.endswith(".gateway")
            lines += [
                f"# {_line(setting)}"
                for setting in settings
                if setting.default is None or not (common or _is_common(section, setting))
            ]
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """Return the tables of `docs/configuration.md`."""
    alias = "accounts.<alias>"
    parts: list[str] = []
    for section, settings in _tables(SECTIONS):
        if not section.startswith("accounts."):
            parts += _table(f"## `[{section}]`", settings)
        elif section == f"accounts.{ALIAS}.gateway":
            parts += _table(f"## `[{alias}.gateway]`", settings)
    parts += _table(f"## `[{alias}.api]`", settings_of(f"accounts.{ALIAS}.api", ApiSettings))
    for cloud, kind in CLOUDS.items():
        parts += [f'## {kind.title}: `cloud = "{cloud}"`', ""]
        parts += _table(f"### `[{alias}]`", settings_of(f"accounts.{ALIAS}", kind.credentials))
        section = f"accounts.{ALIAS}.api"
        own = [setting for setting in settings_of(section, kind.api) if not _is_common(section, setting)]
        if own:
            parts += _table(f"### `[{alias}.api]`, beside the keys of every cloud", own)
    return "\n".join(parts).rstrip() + "\n"


def _tables(sections: Sections) -> Iterator[tuple[str, list[Setting]]]:
    """Yield each table once, with all its keys."""
    tables: dict[str, list[Setting]] = {}
    for section, kind in sections:
        tables.setdefault(section, []).extend(settings_of(section, kind))
    yield from tables.items()


def _is_common(section: str, setting: Setting) -> bool:
    """Whether a key of an account's `api` table is every cloud's, with every cloud's default."""
    if not section.endswith(".api"):
        return False
    common = {each.key: each for each in settings_of(section, ApiSettings)}.get(setting.key)
    return common is not None and (common.type, common.default) == (setting.type, setting.default)


def _line(setting: Setting) -> str:
    if setting.default is None:
        return f"{setting.key} = {_toml(PLACEHOLDERS[setting.path])}"
    return f"# {setting.key} ={' ' + setting.default if setting.default else ''}"


def _table(heading: str, settings: Iterable[Setting]) -> list[str]:
    lines = [heading, "", "| key | type | default | |", "|---|---|---|---|"]
    for setting in settings:
        default = (
            "**required**" if setting.default is None else f"`{setting.default}`" if setting.default else "-"
        )
        text = setting.text.replace("|", "\\|")
        kind = setting.type.replace("|", "\\|")
        lines.append(f"| `{setting.key}` | {kind} | {default} | {text} |")
    return [*lines, ""]


def _texts(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the docstring that follows each field; one that documents several fields stands at the last of them."""
    texts: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        if issubclass(owner, msgspec.Struct) and owner is not msgspec.Struct:
            texts |= _own_texts(owner)
    return texts


def _own_texts(kind: type[msgspec.Struct]) -> dict[str, str]:
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
