"""The limit that nobody can pass with this client: batches are received and acknowledged, and not even looked at.

Through the client's compiled half and with the consumer stage's own settings, so that the stage is compared with the
best it could reach.
"""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.pulsar_client import open_client, subscribe
from tests.benchmarks.gateway.gauge import Gauge
from tests.benchmarks.gateway.job import Job, gateway_account, read_job


def main(job: Job) -> None:
    account = gateway_account(job)
    client = open_client(account)
    consumer = subscribe(client, account, [job.topic], wanted=lambda: True)
    if consumer is None:
        raise SystemExit("the gateway does not let us subscribe")
    received = 0
    with Gauge(Path(job.readings)) as gauge:
        while received < job.messages:
            batch = consumer.batch_receive()
            received += len(batch)
            gauge.read(received, 0)
            # A cumulative acknowledgement covers one partition; the last message of each stays in the dictionary.
            for message in {message.topic_name(): message for message in batch}.values():
                consumer.acknowledge_cumulative(message)
        gauge.read(received, received)
        consumer.close()
        client.close()


if __name__ == "__main__":
    main(read_job(sys.argv[1]))
