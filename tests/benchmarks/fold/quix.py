"""The nearest peer in Python, where it is installed: a quix-streams application on the same observations, exactly once.

It counts each device's observations in its state and tells each count: the least that a stateful application can do.
`python -m tests.benchmarks.fold.quix JOB`; it prints the fold's readings and runs until SIGTERM.
"""

from __future__ import annotations

import importlib
import importlib.util
import resource
import sys
import tempfile
import threading
import time
from typing import Any, Final

import msgspec

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import topic_name
from tests.benchmarks.fold.job import Job, Reading

PACKAGE: Final = "quixstreams"
_COMMIT_EVERY_S: Final = 0.1
_READ_EVERY_S: Final = 0.02


def is_installed() -> bool:
    """Whether there is somebody to compare with."""
    return importlib.util.find_spec(PACKAGE) is not None


class _Counting:
    """The application's one function, and how often it was called."""

    def __init__(self) -> None:
        self.observations = 0

    def __call__(self, _: bytes, state: Any) -> bytes:
        self.observations += 1
        count = state.get("count", 0) + 1
        state.set("count", count)
        return b"%d" % count


def run(job: Job) -> None:
    """Count until told to stop."""
    quixstreams: Any = importlib.import_module(PACKAGE)
    settings = KafkaSettings(bootstrap_servers=job.bootstrap_servers, prefix=job.prefix)
    counting = _Counting()
    threading.Thread(target=_read, args=(counting,), daemon=True).start()
    with tempfile.TemporaryDirectory() as directory:
        application = quixstreams.Application(
            broker_address=job.bootstrap_servers,
            consumer_group=f"{job.prefix}-quix",
            auto_offset_reset="earliest",
            processing_guarantee="exactly-once",
            commit_interval=_COMMIT_EVERY_S,
            state_dir=directory,
            loglevel="WARNING",
        )
        options = {"key_deserializer": "bytes", "value_deserializer": "bytes"}
        observations = application.topic(topic_name(settings.prefix, "observations"), **options)
        counts = application.topic(
            f"{settings.prefix}.counts", key_serializer="bytes", value_serializer="bytes"
        )
        frame = application.dataframe(observations)
        frame.apply(counting, stateful=True).to_topic(counts)
        application.run()


def _read(counting: _Counting) -> None:
    encode = msgspec.json.Encoder().encode
    while True:
        reading = Reading(
            at_s=time.time(),
            cpu_s=time.process_time(),
            rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            folding=0,
            taking_over=0,
            observations=counting.observations,
            transactions=0,
            devices=0,
            devices_as_read=0,
        )
        sys.stdout.buffer.write(encode(reading) + b"\n")
        sys.stdout.buffer.flush()
        time.sleep(_READ_EVERY_S)


if __name__ == "__main__":
    run(msgspec.json.decode(sys.argv[1], type=Job))
