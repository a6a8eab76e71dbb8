"""What all tests share: one Pulsar and one Kafka for the whole run, started when the first test asks for them.

Both are processes, and `Brokers` belongs to no event loop, so tests with loops of their own use the same pair. They
stay out of each other's way by fresh accounts and fresh topic prefixes, not by fresh brokers. Tests that stop or
restart a broker carry the mark `restarts_brokers` and run last in their file.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Coroutine, Generator, Iterator
from typing import Final

import hypothesis
import pytest
from hypothesis.internal.conjecture import providers

from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings
from deploy.sandbox.brokers import Brokers, prepare_java
from deploy.sandbox.brokers.parent import tie_to_parent
from tests import secret_watch

LONGEST_FIRST: Final = (
    "test_campaigns",
    "test_demo",
    "test_consumer_under_load",
    "test_process",
    "test_ingest",
    "test_sandbox",
    "test_brokers",
    "test_simulated_cloud",
    "test_fold_torture",
    "test_reconcile",
    "test_replay",
    "test_lost_pushes",
    "test_fold_traps",
    "test_lookup_command",
    "test_gaps",
    "test_accounts",
    "test_fold",
    "test_fold_doubt",
    "test_listen",
)
"""Files of many seconds, by their length."""

# How long one example takes says something about the machine only. The same examples each time: what fails here fails
# again; `make chaos` tries others. By itself hypothesis also draws from the constants of all modules that the run has
# loaded so far, which makes them others with each order of the tests.
hypothesis.settings.register_profile("bridge", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("bridge")
providers._get_local_constants = lambda: providers._local_constants  # there is no setting for it


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "restarts_brokers: stops the run's brokers for a while; last in its file"
    )
    # A run begun in the background of a script ignores Ctrl-C, and so would the programs that tests start and send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    secret_watch.begin()
    if "MAKELEVEL" in os.environ:
        tie_to_parent(signal.SIGTERM)  # kill -9 of make ends the run, and with it the brokers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: (_turn(item.path.stem), item.get_closest_marker("restarts_brokers") is not None)
    )


def _turn(file: str) -> int:
    """Tell when a file's turn is: the longest begin, so that two workers end together with the short ones."""
    return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)


def pytest_collection_finish(session: pytest.Session) -> None:
    # The very first run fetches the jars: minutes that no single test's timeout should pay for.
    if not session.config.option.collectonly and any("brokers" in _fixtures(item) for item in session.items):
        terminal = session.config.pluginmanager.getplugin("terminalreporter")
        _run(prepare_java(terminal.write_line if terminal else print))


def pytest_runtest_setup() -> None:
    secret_watch.watch.forget_test()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    secret_watch.judge(report)
    return report


@pytest.fixture(scope="session", autouse=True)
def _no_secret_in_a_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield
    assert secret_watch.leaks_in_logs(tmp_path_factory.getbasetemp()) == []


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """The run's real Pulsar and Kafka. Usable from any event loop."""
    pair = Brokers(tmp_path_factory.mktemp("brokers"))
    _run(pair.__aenter__())
    yield pair
    leaks = secret_watch.leaks_on_kafka(pair.kafka.bootstrap_servers)
    _run(pair.__aexit__(None, None, None))
    assert leaks == []


@pytest.fixture
async def gateway_account(brokers: Brokers) -> GatewayAccount:
    """An account of its own on the gateway: verified TLS, the subscription at the earliest message, nothing pushed."""
    access_id, access_key = secrets.token_hex(10), secrets.token_hex(16)
    address = await brokers.pulsar.create_account(access_id, access_key)
    return GatewayAccount(
        name="tuya-test",
        cloud="tuya-cloud",
        access_id=access_id,
        access_key=Secret(access_key),
        gateway=GatewaySettings(
            url=brokers.pulsar.tls_url, subscription=address.subscription, ca_file=str(brokers.ca_file)
        ),
    )


@pytest.fixture
def kafka_prefix() -> str:
    """A prefix that no other test's topics, groups and transactional ids have."""
    return f"t{secrets.token_hex(5)}"


def _fixtures(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def _run(step: Coroutine[object, object, object]) -> None:
    """Await `step` in this thread, which outlives the session, without becoming the thread's event loop."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(step)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
