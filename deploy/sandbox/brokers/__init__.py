"""The sandbox's real brokers: one Pulsar that behaves as the message gateway, and one Kafka.

`async with Brokers(directory) as brokers` starts both; `brokers.pulsar.create_account` makes a gateway to listen to.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.sandbox.brokers.certificates import CertificateFiles, create_certificates
from deploy.sandbox.brokers.gateway_accounts import GatewayAddress
from deploy.sandbox.brokers.java import JarsNotFetched, MissingTools, prepare_java
from deploy.sandbox.brokers.kafka import KafkaBroker
from deploy.sandbox.brokers.process import ChildFailed
from deploy.sandbox.brokers.pulsar import PulsarBroker

__all__ = [
    "Brokers",
    "CertificateFiles",
    "ChildFailed",
    "GatewayAddress",
    "JarsNotFetched",
    "KafkaBroker",
    "MissingTools",
    "PulsarBroker",
    "prepare_java",
]


class Brokers:
    """Both brokers, empty at the start and gone at the end; what is below `directory` from an earlier run is removed.

    Bound to no event loop: one instance serves tests that each have their own. It has to be entered in the main
    thread, or one that lives as long: the brokers die with the thread that started them.
    """

    def __init__(self, directory: Path, *, announce: Callable[[str], None] = lambda _: None) -> None:
        directory = directory.absolute()
        self._announce = announce
        self._folders = (directory / "certificates", directory / "pulsar", directory / "kafka")
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
            folder.with_suffix(".log").unlink(missing_ok=True)
        certificates = create_certificates(self._folders[0])
        self.ca_file: Path = certificates.ca_file
        self.server_certificate: CertificateFiles = certificates.server
        self.client_certificate: CertificateFiles = certificates.client
        self.pulsar = PulsarBroker(self._folders[1], certificates)
        self.kafka = KafkaBroker(self._folders[2], certificates)

    async def __aenter__(self) -> Self:
        """Start both brokers at the same time. Raises MissingTools, JarsNotFetched or ChildFailed."""
        java = await prepare_java(self._announce)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pulsar.start(java))
                group.create_task(self.kafka.start(java))
        except BaseExceptionGroup as failures:
            await self._stop()
            # One sentence helps; the other broker was only cancelled.
            raise failures.exceptions[0] from None
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stop()

    def check(self) -> None:
        """Raise ChildFailed if a broker ended without being told to."""
        self.pulsar.check()
        self.kafka.check()

    async def _stop(self) -> None:
        # Nothing is kept, so there is nothing to wait for.
        await self.pulsar.stop()
        await self.kafka.stop()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
