"""Reads one table into one settings struct, field by field: every mistake in it is found, not only the first.

Secrets are read from the file that `<key>_file` names, or from the environment; paths are resolved against the
configuration file's folder.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec

from bridge.clouds.settings import Check, SecretForm
from bridge.config.environment import FromEnvironment, parse, variable_of
from bridge.config.problems import Problem
from bridge.typed import exists, no_such_file, typed
from consumer.secret import Secret

T = TypeVar("T", bound=msgspec.Struct)

_ABSENT: Any = object()


class Reader:
    """Collects problems while it reads; `folder` is where relative paths begin."""

    def __init__(self, folder: Path, problems: list[Problem]) -> None:
        self.folder = folder
        self.problems = problems

    def read(
        self,
        kind: type[T],
        table: object,
        path: str,
        check: Check,
        *,
        given: Mapping[str, Any] | None = None,
        elsewhere: Collection[str] = (),
        forms: Mapping[str, SecretForm] | None = None,
    ) -> T | None:
        """Return the struct, or None when its table has a mistake.

        `given` are fields that do not come from the table, `elsewhere` keys of the table that somebody else reads,
        `forms` what the secrets among the fields must look like.
        """
        if not isinstance(table, dict):
            self.problem(path, "is not a table", f"Write it as [{path}]")
            return None
        before = len(self.problems)
        given = given or {}
        values: dict[str, Any] = {}
        known = set(elsewhere)
        for field in msgspec.structs.fields(kind):
            if field.name in given:
                continue
            known.add(field.name)
            if is_secret(field.type):
                known.add(f"{field.name}_file")
                value = self._secret(field.name, table, path, (forms or {}).get(field.name))
            else:
                value = self._value(field, table, path)
            if value is not _ABSENT:
                values[field.name] = value
            elif self._told(path, field.name):
                continue
            elif field.required:
                self._missing(path, f"{field.name}_file" if is_secret(field.type) else field.name)
            else:
                values[field.name] = field.default
        for key in table:
            if key not in known:
                self.unknown("key", dotted(path, key), key, table[key], known)
        check(path, values, self.problem)
        return kind(**values, **given) if len(self.problems) == before else None

    def problem(self, path: str, what: str, remedy: str) -> None:
        """Note a mistake."""
        self.problems.append(Problem(path, what, remedy))

    def unknown(self, what: str, where: str, name: str, value: object, known: Collection[str]) -> None:
        """Note a key or a table that nobody reads, with the known one that may have been meant."""
        near = difflib.get_close_matches(name, known, n=1)
        remedy = f"Perhaps {near[0]} was meant" if near else f"Known here: {', '.join(sorted(known))}"
        self.problem(where, f"is not a known {what}{_origin(value)}", remedy)

    def _told(self, path: str, key: str) -> bool:
        names = {dotted(path, key), dotted(path, f"{key}_file")}
        return any(problem.path in names for problem in self.problems)

    def _missing(self, path: str, key: str) -> None:
        where = dotted(path, key)
        variable = variable_of(where.removesuffix("_file") if key.endswith("_file") else where)
        self.problem(where, "is missing", f"Set it in the file, or {variable} in the environment")

    def _value(self, field: msgspec.structs.FieldInfo, table: Mapping[str, Any], path: str) -> Any:
        if field.name not in table:
            return _ABSENT
        where = dotted(path, field.name)
        given = table[field.name]
        from_environment = isinstance(given, FromEnvironment)
        value = parse(given.text, field.type) if isinstance(given, FromEnvironment) else given
        try:
            value = msgspec.convert(value, field.type, strict=not from_environment)
        except msgspec.ValidationError:
            what, remedy = _wrong(field.type, value, from_environment=from_environment)
            self.problem(where, what + _origin(given), remedy)
            return _ABSENT
        parts = value if isinstance(value, tuple) else (value,)
        if any(isinstance(part, float) and not math.isfinite(part) for part in parts):
            self.problem(where, "is not a finite number", "Write an ordinary number")
            return _ABSENT
        if field.name.endswith("_file") and value is not None:
            return self._file(where, value)
        return value

    def _file(self, where: str, value: str) -> Any:
        file = self.folder / Path(value).expanduser()
        try:
            is_file = file.is_file()
        except OSError as error:
            self._unreadable(where, file, error.strerror or str(error))
            return _ABSENT
        if not is_file:
            self.problem(
                where,
                f"names {file}, which is not a file",
                "Check the path; it is relative to the configuration file",
            )
            return _ABSENT
        return str(file)

    def _unreadable(self, where: str, file: str | Path, reason: str) -> None:
        self.problem(
            where, f"names {file}, which cannot be read: {reason}", "Check the file and its permissions"
        )

    def _secret(self, key: str, table: Mapping[str, Any], path: str, form: SecretForm | None) -> Any:
        where = dotted(path, key)
        plain, file_key = table.get(key), f"{key}_file"
        if plain is not None and not isinstance(plain, FromEnvironment):
            self.problem(
                where,
                "is a secret in plain text",
                f"Put it into a file of its own and name that as {file_key}, or set {variable_of(where)}",
            )
            return _ABSENT
        named = table.get(file_key)
        if isinstance(plain, FromEnvironment):
            if isinstance(named, FromEnvironment):
                self.problem(
                    where, f"is set by {plain.variable} and by {named.variable}", "Set only one of the two"
                )
                return _ABSENT
            return self._secret_text(where, plain.text, f"is set by {plain.variable}, which", form)
        if named is None:
            return _ABSENT
        name = named.text if isinstance(named, FromEnvironment) else named
        if not isinstance(name, str):
            self.problem(dotted(path, file_key), "is not a text", "Write the path of the secret's file")
            return _ABSENT
        if not exists(self.folder / Path(name).expanduser()):
            self.problem(
                dotted(path, file_key),
                no_such_file(self.folder / Path(name).expanduser()),
                f"Name the file that holds the secret; the secret itself may be in {variable_of(where)}",
            )
            return _ABSENT
        file = self._file(dotted(path, file_key), name)
        if file is _ABSENT:
            return _ABSENT
        try:
            text = Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            self._unreadable(dotted(path, file_key), file, reason or str(error))
            return _ABSENT
        return self._secret_text(dotted(path, file_key), text, f"names {file}, which", form)

    def _secret_text(self, where: str, text: str, source: str, form: SecretForm | None) -> Any:
        """Return the secret; `source` begins the sentence of what is wrong with it."""
        text = text.strip()
        if not text:
            self.problem(where, f"{source} is empty", "Write the secret into it, or leave the key out")
            return _ABSENT
        if len(text.splitlines()) > 1:
            self.problem(
                where, f"{source} has more than one line", "Leave the secret alone in it, as a single line"
            )
            return _ABSENT
        mistake = None if form is None else form(text)
        if mistake is not None:
            what, remedy = mistake
            self.problem(where, f"{source} {what}", remedy)
            return _ABSENT
        return Secret(text)


def dotted(path: str, key: str) -> str:
    """Return a key's path."""
    return f"{path}.{key}" if path else key


_EXAMPLE: Final = "See `ota-bridge config example`"
_FORMS: Final[Mapping[object, tuple[str, str, str]]] = {
    tuple: (
        "a list",
        'Write it in brackets, such as ["one", "two"]',
        "Write it with commas, such as one,two",
    ),
    bool: ("true or false", "Write true or false, without quotes", "Write true or false"),
    int: ("a whole number", "Write it without quotes, such as 60", "Write digits alone, such as 60"),
    float: ("a number", "Write it without quotes, such as 2.5", "Write a number alone, such as 2.5"),
    str: ("text", "Write it in quotes", "Write it as it is"),
}
"""The first that a type names: what a value is, how it is written in the file, and how in the environment."""


def is_secret(kind: Any) -> bool:
    """Whether a field of this type holds a secret."""
    return kind is Secret or Secret in get_args(kind)


def _choices(kind: Any) -> tuple[object, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _origin(value: object) -> str:
    return f" (from {value.variable})" if isinstance(value, FromEnvironment) else ""


def _wrong(kind: Any, value: object, *, from_environment: bool) -> tuple[str, str]:
    """Return what is wrong with a value that is not of this type, and how one is written."""
    if choices := _choices(kind):
        return "has a wrong value", "Use one of " + ", ".join(repr(choice) for choice in choices)
    if isinstance(value, list) and get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        form, remedy = _form(inner, from_environment=from_environment)
        wrong = ", ".join(
            typed(str(part)) for part in value if not _is_one(part, inner, strict=not from_environment)
        )
        return f"holds something that is not {form}: {wrong}", remedy
    form, remedy = _form(kind, from_environment=from_environment)
    return f"is not {form}", remedy


def _is_one(value: object, kind: Any, *, strict: bool) -> bool:
    try:
        msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError:
        return False
    return True


def _form(kind: Any, *, from_environment: bool) -> tuple[str, str]:
    """Return what a value of this type is, and how it is written there."""
    kinds = (kind, get_origin(kind), *get_args(kind))
    form, in_file, in_environment = next(
        (form for of, form in _FORMS.items() if of in kinds), ("of its form", _EXAMPLE, _EXAMPLE)
    )
    return form, in_environment if from_environment else in_file
