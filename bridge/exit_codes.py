"""What the process says when it ends; part of the public contract, for service managers and scripts."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """0 to 5, and nothing else."""

    OK = 0
    UNEXPECTED = 1
    """A defect, or a stop that did not finish within its deadline."""
    USAGE = 2
    """The command line, the configuration or a topic's settings: changing them is the cure."""
    REFUSED = 3
    """All accounts have a gateway, and all are refused by it; for a command: its gateway or cloud refuses, or Kafka."""
    UNREACHABLE = 4
    """Kafka, the gateway or a cloud did not answer a command; the daemon itself retries for ever."""
    DATA = 5
    """What was asked for is not there, or is not what it should be."""
