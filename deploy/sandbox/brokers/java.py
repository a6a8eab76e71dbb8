"""The Java side of the sandbox: the tools it needs, the brokers' jars, and our own few classes, compiled.

Everything is made once and kept in the project's `.cache/sandbox` under a name that changes with its source, so a
second start needs neither Maven nor a network.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from deploy.sandbox.brokers.process import Child

CACHE = Path(__file__).parents[3] / ".cache" / "sandbox"
_HERE = Path(__file__).parent
_SOURCES = (_HERE / "GatewayAuthenticationProvider.java", _HERE / "GatewayBroker.java")
_OLDEST_JAVA = 17
_COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_ATTEMPTS = 3
"""A quarter of a gigabyte over a network that may hiccup; Maven keeps what it has and goes on from there."""

_INSTALL = """Install them:
  Debian, Ubuntu:  apt-get install openjdk-17-jdk-headless maven
  Fedora:          dnf install java-17-openjdk-devel maven
or point JAVA_HOME to a JDK and put mvn on the PATH."""


class MissingTools(Exception):
    """A program that the sandbox needs is missing or too old; nothing was started. The message says what to install."""


class JarsNotFetched(Exception):
    """Maven could not bring the brokers' jars; nothing was started. The message ends with Maven's own words."""


class Java(Struct, frozen=True, kw_only=True):
    """What it takes to start the brokers."""

    executable: Path
    pulsar_classpath: str
    kafka_classpath: str


async def prepare_java(announce: Callable[[str], None]) -> Java:
    """Return the tools and class paths, fetched and compiled first where they are not yet in the cache.

    `announce` is told what takes long. Raises MissingTools or JarsNotFetched.
    """
    executable = _java()
    async with _cache_lock():
        if not _classes_folder().exists():
            _tool("javac")  # said now, not after a download of minutes
        pulsar = await _jars("pulsar", announce)
        kafka = await _jars("kafka", announce)
        classes = await _classes(pulsar)
    return Java(
        executable=executable,
        pulsar_classpath=f"{classes}{os.pathsep}{pulsar}/*",
        kafka_classpath=f"{kafka}/*",
    )


@asynccontextmanager
async def _cache_lock() -> AsyncIterator[None]:
    """One start at a time fills the cache; the others wait and find it full."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.1)
            else:
                break
        yield


async def _jars(name: str, announce: Callable[[str], None]) -> Path:
    folder = _jars_folder(name)
    if folder.exists():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise MissingTools(f"Maven (mvn) is not on the PATH. {_INSTALL}")
    announce(f"Fetching the jars of {name} with Maven; this happens once and takes a minute or two.")
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=f"{name}-") as temporary:
        # Maven takes the folder of the pom for the project's and would leave things there.
        shutil.copy(_pom(name), Path(temporary) / "pom.xml")
        log_file = CACHE / f"maven-{name}.log"
        log_file.unlink(missing_ok=True)
        command = [maven, "--batch-mode", "-f", f"{temporary}/pom.xml", _COPY_DEPENDENCIES]
        command += [f"-DoutputDirectory={temporary}/jars", "-DincludeScope=runtime"]
        await _run("Maven", command, log_file, attempts=_ATTEMPTS)
        (Path(temporary) / "jars").rename(folder)
    return folder


async def _classes(pulsar: Path) -> Path:
    folder = _classes_folder()
    if folder.exists():
        return folder
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="classes-") as temporary:
        command = [str(_tool("javac")), "--release", str(_OLDEST_JAVA), "-proc:none"]
        command += ["-cp", f"{pulsar}/*", "-d", f"{temporary}/classes", *map(str, _SOURCES)]
        await _run("javac", command, CACHE / "javac.log", attempts=1)
        (Path(temporary) / "classes").rename(folder)
    return folder


async def _run(name: str, command: Sequence[str], log_file: Path, *, attempts: int) -> None:
    for _ in range(attempts):
        child = Child(name, command, log_file=log_file)
        try:
            if await child.wait() == 0:
                return
        finally:
            await child.kill()
    raise JarsNotFetched(str(child.failed("failed")))


def _java() -> Path:
    java = _tool("java")
    shown = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', shown)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        first_line = shown.strip().partition("\n")[0] or "no version"
        raise MissingTools(
            f"{java} is too old ({first_line}); Java {_OLDEST_JAVA} or newer is needed. {_INSTALL}"
        )
    return java


def _tool(name: str) -> Path:
    """Find a JDK's program: in JAVA_HOME, on the PATH, or beside the java that is there."""
    candidates = []
    if home := os.environ.get("JAVA_HOME"):
        candidates.append(Path(home) / "bin" / name)
    if found := shutil.which(name):
        candidates.append(Path(found))
    if java := shutil.which("java"):
        candidates.append(Path(java).resolve().with_name(name))
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise MissingTools(
        f"A Java {_OLDEST_JAVA} development kit (JDK) is needed and {name} was not found. {_INSTALL}"
    )


def _pom(name: str) -> Path:
    return _HERE / f"{name}.pom.xml"


def _jars_folder(name: str) -> Path:
    return CACHE / f"{name}-{_digest(_pom(name))}"


def _classes_folder() -> Path:
    return CACHE / f"classes-{_digest(*_SOURCES, _pom('pulsar'))}"


def _digest(*files: Path) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
