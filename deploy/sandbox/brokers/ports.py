"""Free ports that stay ours over a broker's restart."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 15_000
_LOCAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST_OUTGOING = 49_152
"""Where there is no such file, as on macOS: the beginning of the range that IANA keeps for outgoing connections."""


def free_ports(count: int) -> tuple[int, ...]:
    """Choose `count` ports of 127.0.0.1 that nobody listens on.

    They lie below the range that the kernel gives to outgoing connections: a broker that is down for a moment
    would otherwise find its port taken by a client that is looking for it.
    """
    highest = _LOWEST_OUTGOING
    if _LOCAL_RANGE.exists():
        highest = int(_LOCAL_RANGE.read_text(encoding="ascii").split()[0])
    if highest - _LOWEST < 1000:  # noqa: PLR2004 - a machine with an unusual range: any port may be tried
        highest = 65_000
    ports: set[int] = set()
    while len(ports) < count:
        port = random.SystemRandom().randrange(_LOWEST, highest)
        if _is_free(port):
            ports.add(port)
    return tuple(ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
