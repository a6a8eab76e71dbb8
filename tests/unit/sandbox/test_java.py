"""What the brokers need is found, fetched once, or asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.sandbox.brokers import java
from deploy.sandbox.brokers.java import JarsNotFetched, MissingTools, prepare_java


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


class Machine:
    """A PATH on which only these programs are, and an empty cache."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._programs = folder / "bin"
        self._programs.mkdir()
        self.cache = folder / "cache"
        monkeypatch.setenv("PATH", str(self._programs))
        monkeypatch.delenv("JAVA_HOME", raising=False)
        monkeypatch.setattr(java, "CACHE", self.cache)

    def has(self, program: str, script: str) -> None:
        file = self._programs / program
        file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        file.chmod(0o755)

    def has_a_jdk(self, version: str = "17.0.15") -> None:
        self.has("java", f"""echo 'openjdk version "{version}" 2025-04-15' >&2""")
        self.has("javac", 'for last; do :; done; while [ "$1" != -d ]; do shift; done; /bin/mkdir "$2"')

    def has_maven(self) -> None:
        self.has(
            "mvn", 'for each; do case $each in -DoutputDirectory=*) /bin/mkdir "${each#*=}";; esac; done'
        )


def announced(_text: str) -> None:
    """Nobody listens."""


@pytest.mark.usefixtures("machine")
async def test_without_java_it_says_what_to_install() -> None:
    with pytest.raises(MissingTools, match=r"(?s)Java 17 .*apt-get install openjdk-17-jdk-headless maven"):
        await prepare_java(announced)


async def test_an_old_java_is_named_with_what_to_install(machine: Machine) -> None:
    machine.has_a_jdk("11.0.2")

    with pytest.raises(MissingTools, match=r'(?s)too old .*version "11\.0\.2".*openjdk-17'):
        await prepare_java(announced)


async def test_a_runtime_without_a_compiler_is_not_enough(machine: Machine) -> None:
    machine.has("java", """echo 'openjdk version "21.0.1"' >&2""")
    machine.has_maven()

    with pytest.raises(MissingTools, match="javac was not found"):
        await prepare_java(announced)


async def test_without_maven_it_says_what_to_install(machine: Machine) -> None:
    machine.has_a_jdk()

    with pytest.raises(MissingTools, match=r"(?s)Maven .*apt-get install .*maven"):
        await prepare_java(announced)


async def test_a_failing_maven_is_quoted_and_leaves_no_half_cache(machine: Machine) -> None:
    machine.has_a_jdk()
    machine.has("mvn", "echo Could not transfer artifact; exit 1")

    with pytest.raises(JarsNotFetched, match="Could not transfer artifact") as failure:
        await prepare_java(announced)

    assert str(failure.value).count("Could not transfer artifact") == 3
    assert not list(machine.cache.glob("pulsar-*"))


async def test_a_second_start_needs_neither_maven_nor_a_compiler(machine: Machine) -> None:
    machine.has_a_jdk("21")
    machine.has_maven()
    said: list[str] = []
    first = await prepare_java(said.append)
    for program in ("mvn", "javac"):
        machine.has(program, "exit 1")

    second = await prepare_java(said.append)

    assert second == first
    assert [line.split(" with")[0] for line in said] == [
        "Fetching the jars of pulsar",
        "Fetching the jars of kafka",
    ]
