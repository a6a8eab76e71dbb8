"""Bad messages among good ones through the real brokers; every one is followed to what became of it, by its place."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import _pulsar

from bridge.kafka.settings import KafkaSettings
from bridge.kafka.topics import ensure_topics, topic_name
from consumer.settings import GatewayAccount
from deploy.sandbox.brokers import Brokers
from deploy.sandbox.brokers.gateway_accounts import derive_password
from tests.gateway_fuzz import corpus
from tests.gateway_fuzz.case import Case, odd
from tests.gateway_messages import sealed, upgrade_status
from tests.integration.fold_topics import until
from tests.integration.gateway_load import Place, backlog, connect
from tests.integration.observed import records_of
from tests.integration.running_bridge import RunningBridge

_DEVICES: Final = 50


async def fuzz(
    brokers: Brokers, account: GatewayAccount, prefix: str, folder: Path, *, every: int = 1
) -> None:
    """Send the corpus (of the large kinds every n-th case), a good message after each case; judge what comes of them.

    Each bad message has to become exactly one dead letter with its reason, each good one exactly one observation, and
    no secret may be in a log, on a page or, but for the sealed payloads of dead letters, on a topic.
    """
    settings = KafkaSettings(bootstrap_servers=brokers.kafka.bootstrap_servers, prefix=prefix, partitions=4)
    await ensure_topics(settings)
    key, token = account.access_key.reveal(), f"pairing-{secrets.token_hex(8)}"
    bound = {"bizCode": "bindUser", "devId": "paired", "bizData": {"token": token}}
    cases = [odd("binding", sealed(bound, key=key))]
    for number, case in enumerate(corpus(key, every=every)):
        good = upgrade_status(f"good-{number % _DEVICES}", description=str(number))
        cases += [case, odd("good", sealed(good, key=key))]
    async with RunningBridge(
        folder, account, settings.bootstrap_servers, prefix, "--stage", "consumer", partitions=4
    ) as bridge:
        sent = await asyncio.to_thread(_send, brokers, account, cases)
        await until(lambda: backlog(brokers, account) == 0)
        pages = [(await bridge.get(path)).text for path in ("/metrics", "/status")]
        assert await bridge.child.stop(30) == 0
    told = [bridge.log_file.read_text(), *pages]

    became: dict[Place, list[str]] = {place: [] for place in sent}
    payloads_are_whole = True
    for record, place, kind in await asyncio.to_thread(lambda: list(_records(settings))):
        became[place].append(kind)
        if kind != "observation":
            del record["payload"]
            payloads_are_whole &= record["payload_sha256"] == hashlib.sha256(sent[place].payload).hexdigest()
        told.append(json.dumps(record))
    wrong = [
        f"{case.what}: expected one of {case.outcomes}, became {became[place]}"
        for place, case in sent.items()
        if tuple(sorted(became[place])) not in case.outcomes
    ]
    assert not wrong, f"{len(wrong)} of {len(sent)}:\n" + "\n".join(wrong[:20])
    assert payloads_are_whole

    everything = "\n".join(told)
    hashed = hashlib.md5(key.encode()).hexdigest()
    for secret in (key, key[8:24], hashed, derive_password(account.access_id, key), token):
        assert secret not in everything
    signs = {sign for case in sent.values() for sign in re.findall(rb'"sign":"([0-9a-f]{32})"', case.payload)}
    assert not {written.encode() for written in re.findall(r"\b[0-9a-f]{32}\b", everything)} & signs


def _send(brokers: Brokers, account: GatewayAccount, cases: list[Case]) -> dict[Place, Case]:
    """Publish every case and return where each lies. By the compiled client: `em` may be bytes that are no text."""
    sent: dict[Place, Case] = {}
    client = connect(brokers)
    producer = client.create_producer(
        f"persistent://{account.access_id}/out/event",
        block_if_queue_full=True,
        batching_enabled=True,
        batching_max_publish_delay_ms=5,
    )

    def publish(case: Case, key: str) -> None:
        def answered(result: _pulsar.Result, at: _pulsar.MessageId) -> None:
            if result == _pulsar.Result.Ok:
                sent[f"event/{at.partition()}", at.ledger_id(), at.entry_id(), at.batch_index()] = case

        message = _pulsar.MessageBuilder().content(case.payload).partition_key(key)
        if case.em is not None:
            message.property("em", case.em)
        producer._producer.send_async(message.build(), answered)

    for number, case in enumerate(cases):
        publish(case, f"key-{number // 2 % _DEVICES}")
    producer.flush()
    client.close()
    assert len(sent) == len(cases)
    return sent


def _records(settings: KafkaSettings) -> Iterator[tuple[dict[str, object], Place, str]]:
    """Yield each record with the place of its message, and `observation` or the dead letter's reason."""
    for letter in records_of(settings.bootstrap_servers, topic_name(settings.prefix, "dead-letters")):
        _, _, position = letter["source_position"].partition("/")
        partition, ledger, entry, index = position.rsplit(":", 3)
        yield letter, (partition, int(ledger), int(entry), int(index)), letter["reason"]
    for observation in records_of(settings.bootstrap_servers, topic_name(settings.prefix, "observations")):
        at = observation["evidence"]["position"]
        yield observation, (at["partition"], at["ledger"], at["entry"], at["batch_index"]), "observation"
