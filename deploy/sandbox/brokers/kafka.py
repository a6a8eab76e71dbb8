"""A real Kafka broker: KRaft, one node, with a plain listener and one with TLS and a login."""

from __future__ import annotations

import asyncio
import base64
import secrets
import struct
from pathlib import Path

from deploy.sandbox.brokers.broker import Broker
from deploy.sandbox.brokers.certificates import Certificates, write_private
from deploy.sandbox.brokers.java import Java
from deploy.sandbox.brokers.logging_configuration import write_log4j_configuration
from deploy.sandbox.brokers.ports import free_ports
from deploy.sandbox.brokers.process import Child

_ANSWER_TIMEOUT_S = 2.0
_API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""Size, API key 18 (ApiVersions), its version 0, a correlation id, no client id."""


class KafkaBroker(Broker):
    """Started by `start()`; keeps its ports, topics and records over `restart()` and `down()`."""

    name = "Kafka"

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__(directory)
        self._certificates = certificates
        self._port, self._sasl_ssl_port, self._controller_port = free_ports(3)
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self.sasl_ssl_bootstrap_servers = f"localhost:{self._sasl_ssl_port}"
        self.username = "ota-bridge"
        self.password = secrets.token_urlsafe(18)

    async def start(self, java: Java) -> None:
        """Format the storage, start the broker and return once it answers. Raises ChildFailed."""
        certificates = self._certificates.server
        # Java's PEM keystore is one file of key and chain.
        keystore = self._directory / "keystore.pem"
        write_private(keystore, certificates.key_file.read_bytes() + certificates.cert_file.read_bytes())
        configuration = self._directory / "server.properties"
        settings = "".join(f"{key}={value}\n" for key, value in self._settings(keystore).items())
        write_private(configuration, settings.encode())
        log4j = write_log4j_configuration(self._directory)
        program = (
            str(java.executable),
            "-Xmx512m",
            f"-Dlog4j2.configurationFile={log4j}",
            "-cp",
            java.kafka_classpath,
        )
        login = f"SCRAM-SHA-512=[name={self.username},password={self.password}]"
        arguments = ("format", "-t", _cluster_id(), "-S", login, "-c", str(configuration))
        formatting = Child(
            "Kafka's storage tool",
            (*program, "kafka.tools.StorageTool", *arguments),
            log_file=self.log_file,
        )
        try:
            if await formatting.wait() != 0:
                raise formatting.failed("failed")
        finally:
            await formatting.kill()
        self._command = (*program, "kafka.Kafka", str(configuration))
        await self._launch()

    async def _answers(self) -> bool:
        """Ask for the versions of its API: the first thing a broker answers once it serves clients."""
        try:
            async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    writer.write(_API_VERSIONS)
                    await reader.readexactly(len(_API_VERSIONS))
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return False
        return True

    def _settings(self, keystore: Path) -> dict[str, str]:
        plain = (
            "org.apache.kafka.common.security.plain.PlainLoginModule required "
            f'user_{self.username}="{self.password}";'
        )
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://127.0.0.1:{self._port},SASL_SSL://127.0.0.1:{self._sasl_ssl_port},"
            f"CONTROLLER://127.0.0.1:{self._controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap_servers},"
            f"SASL_SSL://{self.sasl_ssl_bootstrap_servers}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": plain,
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram."
            "ScramLoginModule required;",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "log.dirs": str(self._directory / "data"),
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # After kill -9 the controller waits this long (by default 9 s) before it lets the broker return.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # A transaction left open is ended within a second of its timeout; the default looks every ten.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            # A program that expects its topics to appear by themselves would not run on a broker that forbids it.
            "auto.create.topics.enable": "false",
            # One node needs few of these; the defaults (50) cost a second when the first group joins.
            "offsets.topic.num.partitions": "8",
            "transaction.state.log.num.partitions": "8",
            # Reserved on disk for each partition's segment; tests create partitions by the hundred.
            "log.index.size.max.bytes": "1048576",
        }


def _cluster_id() -> str:
    """16 random bytes in URL-safe base64, and never a leading `-`, which the storage tool takes for an option."""
    return base64.urlsafe_b64encode(b"\0" + secrets.token_bytes(15)).rstrip(b"=").decode()
