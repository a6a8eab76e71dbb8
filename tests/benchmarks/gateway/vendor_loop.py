"""The vendor's Python SDK, its loop in our own words: one message at a time, decrypted, printed, acknowledged.

What it does and does not do is `contracts/message-gateway.md`'s account of it: the public client, the mode from `em`,
pycryptodome, no look at the sign, a cumulative acknowledgement of each message, nothing forwarded anywhere. What it
prints is discarded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from pathlib import Path

import pulsar
from Crypto.Cipher import AES

from tests.benchmarks.gateway.gauge import Gauge
from tests.benchmarks.gateway.job import Job, read_job

NONCE_BYTES = 12
TAG_BYTES = 16


def authentication(access_id: str, access_key: str) -> pulsar.AuthenticationBasic:
    inner = hashlib.md5(access_key.encode()).hexdigest()
    password = hashlib.md5((access_id + inner).encode()).hexdigest()[8:24]
    # The client joins both halves with a colon: the JSON is cut at one.
    return pulsar.AuthenticationBasic(f'{{"username":"{access_id}","password"', f'"{password}"}}', "auth1")


def decrypt(encoded: str, access_key: str, mode: str | None) -> str:
    encrypted = base64.b64decode(encoded)
    key = access_key[8:24].encode("utf-8")
    if mode == "aes_gcm":
        cipher = AES.new(key, AES.MODE_GCM, nonce=encrypted[:NONCE_BYTES])
        plain = cipher.decrypt_and_verify(encrypted[NONCE_BYTES:-TAG_BYTES], encrypted[-TAG_BYTES:])
        return plain.decode("utf-8")
    text = AES.new(key, AES.MODE_ECB).decrypt(encrypted).decode("utf-8")
    # Its way of taking the padding off: line ends and form feeds only.
    return text.replace("\r", "").replace("\n", "").replace("\f", "")


def handle(message: pulsar.Message, access_key: str) -> None:
    payload = message.data().decode("utf-8")
    print("received:", message.message_id(), message.publish_timestamp(), payload)
    mode = message.properties().get("em")
    envelope = json.loads(payload)
    text = decrypt(envelope["data"], access_key, mode)
    print("decrypted:", text)


def main(job: Job) -> None:
    client = pulsar.Client(
        job.url,
        authentication=authentication(job.access_id, job.access_key),
        tls_trust_certs_file_path=job.ca_file,
    )
    with Gauge(Path(job.readings)) as gauge:
        consumer = client.subscribe(job.topic, job.subscription, consumer_type=pulsar.ConsumerType.Failover)
        message = consumer.receive()
        gauge.read(1, 0)
        for _ in range(job.messages - 1):
            handle(message, job.access_key)
            consumer.acknowledge_cumulative(message)
            message = consumer.receive()
        handle(message, job.access_key)
        consumer.acknowledge_cumulative(message)
        gauge.read(job.messages, job.messages)
        consumer.close()
        client.close()


if __name__ == "__main__":
    with Path(os.devnull).open("w", encoding="utf-8") as sys.stdout:
        main(read_job(sys.argv[1]))
