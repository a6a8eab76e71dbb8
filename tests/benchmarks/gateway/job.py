"""What a contender's process is told: a file that only we can read, because the access key is in it."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from consumer.secret import Secret
from consumer.settings import GatewayAccount, GatewaySettings

ACCOUNT = "bench"


class Job(Struct, frozen=True, kw_only=True):
    """Drain `messages` from a subscription, and tell how it goes in the file `readings`."""

    url: str
    ca_file: str
    access_id: str
    access_key: str
    topic: str
    subscription: str
    bootstrap_servers: str
    prefix: str
    messages: int
    readings: str
    profile: str | None = None
    """Where the consumer stage writes what its threads did."""


def read_job(file: str) -> Job:
    """Return the job in `file`."""
    return msgspec.json.decode(Path(file).read_bytes(), type=Job)


def gateway_account(job: Job) -> GatewayAccount:
    """Return the account as the consumer stage's own client wants it."""
    return GatewayAccount(
        name=ACCOUNT,
        cloud="tuya-cloud",
        access_id=job.access_id,
        access_key=Secret(job.access_key),
        gateway=GatewaySettings(url=job.url, subscription=job.subscription, ca_file=job.ca_file),
    )
