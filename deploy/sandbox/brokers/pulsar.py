"""A real Pulsar broker that behaves as the message gateway: `auth1`, TLS, authorisation, nothing made on demand.

Standalone Pulsar 4.0.7 from its published jars, one process. The administrator of its basic authentication is also
the role with which the simulated cloud pushes.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import httpx

from deploy.sandbox.brokers.broker import Broker
from deploy.sandbox.brokers.certificates import Certificates, write_private
from deploy.sandbox.brokers.gateway_accounts import GatewayAccounts, GatewayAddress
from deploy.sandbox.brokers.htpasswd import apr1
from deploy.sandbox.brokers.java import Java
from deploy.sandbox.brokers.logging_configuration import write_log4j_configuration
from deploy.sandbox.brokers.ports import free_ports

_ADMIN = "sandbox-admin"
_OPENED_PACKAGES = (
    "java.base/jdk.internal.loader",
    "java.base/java.lang",
    "java.base/java.io",
    "java.base/java.util.zip",
    "java.base/sun.nio.ch",
    "java.base/java.nio",
    "java.base/jdk.internal.platform",
    "java.management/sun.management",
    "jdk.management/com.sun.management.internal",
)


class PulsarBroker(Broker):
    """Started by `start()`; keeps its ports, accounts and messages over `restart()` and `down()`."""

    name = "Pulsar"

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        super().__init__(directory)
        self._certificates = certificates
        self._port, self._tls_port, self._web_port, self._bookie_port, *proxy_ports = free_ports(6)
        self.proxy_port, self.behind_proxy_port = proxy_ports
        """Look-ups asked at the second (TLS) answer that the broker is at the first, where nobody listens: a proxy
        from there to here, which a test may start, sees every connection of its client."""
        self.url = f"pulsar://127.0.0.1:{self._port}"
        self.tls_url = f"pulsar+ssl://localhost:{self._tls_port}"
        self.admin_url = f"http://127.0.0.1:{self._web_port}"
        self.admin_username = _ADMIN
        self.admin_password = secrets.token_urlsafe(18)
        self._auth = httpx.BasicAuth(_ADMIN, self.admin_password)
        self._accounts = GatewayAccounts(directory / "auth1.json", self.admin_url, self._auth)

    async def start(self, java: Java) -> None:
        """Write the configuration, start the broker and return once it answers. Raises ChildFailed."""
        self._accounts.clear()
        htpasswd = self._directory / "htpasswd"
        write_private(htpasswd, f"{_ADMIN}:{apr1(self.admin_password, secrets.token_hex(4))}\n".encode())
        configuration = self._directory / "standalone.conf"
        settings = "".join(f"{key}={value}\n" for key, value in self._settings(htpasswd).items())
        write_private(configuration, settings.encode())
        log4j = write_log4j_configuration(self._directory)
        self._command = (
            str(java.executable),
            *(word for package in _OPENED_PACKAGES for word in ("--add-opens", f"{package}=ALL-UNNAMED")),
            "-Xmx512m",
            "-XX:MaxDirectMemorySize=512m",
            f"-Dpulsar.auth.basic.conf={htpasswd}",
            f"-Dlog4j2.configurationFile={log4j}",
            f"-Djava.io.tmpdir={self._directory}",
            "-cp",
            java.pulsar_classpath,
            "GatewayBroker",
            *("-c", str(configuration)),
            "--no-functions-worker",
            "--no-stream-storage",
            *("--metadata-dir", str(self._directory / "metadata")),
            *("--bookkeeper-dir", str(self._directory / "bookkeeper")),
            *("--bookkeeper-port", str(self._bookie_port)),
        )
        await self._launch()

    async def create_account(
        self,
        access_id: str,
        access_key: str,
        *,
        subscription: str | None = None,
        topics: Sequence[str] = ("event",),
    ) -> GatewayAddress:
        """Create what the platform creates for a cloud project; again with another key: the key is rotated.

        All three topics exist afterwards; those in `topics` have the subscription (`{access_id}-sub` unless named),
        at the earliest message. Earlier keys of the account are refused from now on, except the last one.
        """
        return await self._accounts.create(access_id, access_key, subscription or f"{access_id}-sub", topics)

    async def listened_partitions(self, access_id: str, *, subscription: str | None = None) -> int:
        """Return how many of the account's event partitions somebody is connected to."""
        return await self._accounts.listened_partitions(access_id, subscription or f"{access_id}-sub")

    async def set_ttl(self, seconds: int) -> None:
        """Drop what is unconsumed for `seconds`, in all accounts, now and (checked each minute) from now on."""
        await self._accounts.set_ttl(seconds)

    async def _answers(self) -> bool:
        # `ready` comes before a new broker has registered its cluster; the default namespace comes after.
        async with httpx.AsyncClient(auth=self._auth, trust_env=False) as client:
            try:
                for path in ("brokers/ready", "namespaces/public/default"):
                    if not (await client.get(f"{self.admin_url}/admin/v2/{path}")).is_success:
                        return False
            except httpx.TransportError:
                return False
        return True

    def _settings(self, htpasswd: Path) -> dict[str, str]:
        certificates = self._certificates
        return {
            "clusterName": "standalone",
            "metadataStoreUrl": "",
            "bindAddress": "127.0.0.1",
            "advertisedAddress": "127.0.0.1",
            "advertisedListeners": f"direct:pulsar://127.0.0.1:{self._port},"
            f"direct:pulsar+ssl://127.0.0.1:{self._tls_port},proxied:pulsar+ssl://127.0.0.1:{self.proxy_port}",
            "internalListenerName": "direct",
            "bindAddresses": f"proxied:pulsar+ssl://127.0.0.1:{self.behind_proxy_port}",
            "brokerServicePort": str(self._port),
            "brokerServicePortTls": str(self._tls_port),
            "webServicePort": str(self._web_port),
            "tlsCertificateFilePath": str(certificates.server.cert_file),
            "tlsKeyFilePath": str(certificates.server.key_file),
            "tlsTrustCertsFilePath": str(certificates.ca_file),
            "authenticationEnabled": "true",
            "authenticationProviders": "GatewayAuthenticationProvider,"
            "org.apache.pulsar.broker.authentication.AuthenticationProviderBasic",
            "auth1File": str(self._accounts.file),
            "basicAuthConf": f"file://{htpasswd}",
            "authorizationEnabled": "true",
            "superUserRoles": _ADMIN,
            "brokerClientAuthenticationPlugin": "org.apache.pulsar.client.impl.auth.AuthenticationBasic",
            "brokerClientAuthenticationParameters": f'{{"userId":"{_ADMIN}","password":"{self.admin_password}"}}',
            # The platform makes topics and subscriptions; a client never does.
            "allowAutoTopicCreation": "false",
            "allowAutoSubscriptionCreation": "false",
            "brokerDeleteInactiveTopicsEnabled": "false",
            "messageExpiryCheckIntervalInMinutes": "1",
            # One node, nothing to balance, and nothing that must survive the machine.
            "managedLedgerDefaultEnsembleSize": "1",
            "managedLedgerDefaultWriteQuorum": "1",
            "managedLedgerDefaultAckQuorum": "1",
            "journalSyncData": "false",
            # On a busy machine a few slow writes would bar the only bookie for half an hour.
            "bookkeeperClientHealthCheckEnabled": "false",
            # These are the bookie's, which reads the same file. Ephemeral ports have to be allowed for the given
            # port to be taken; a full disk makes it read-only.
            "allowEphemeralPorts": "true",
            "listeningInterface": "lo",
            "allowLoopback": "true",
            "diskUsageThreshold": "0.999",
            "diskUsageWarnThreshold": "0.99",
            "loadBalancerEnabled": "false",
            "transactionCoordinatorEnabled": "false",
        }
