"""The records as documents for other languages: one JSON Schema each, and one AsyncAPI 3 document of the topics.

They are checked in under `docs/schemas/`. Draft 07 of JSON Schema, because that is the one AsyncAPI's tools read.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from schemas.dead_letter import DeadLetter
from schemas.ingest_progress import IngestProgress
from schemas.lookup_request import LookupRequest
from schemas.observation import Observation
from schemas.upgrade_event import UpgradeEvent
from schemas.upgrade_state import UpgradeState

MAJOR: Final = 1


class Topic(Struct, frozen=True, kw_only=True):
    """A topic's record, and what to know beside it. The key is text in UTF-8."""

    record: type[Struct]
    summary: str
    key: str
    headers: Mapping[str, str] = {}
    tombstone: str | None = None
    """What a null value means, where there are such."""


CLOUD_EVENT_HEADERS: Final = {
    "ce_specversion": "1.0",
    "ce_id": "`<device_id>/<revision>`, unique",
    "ce_source": "`/<cloud>/<account>`",
    "ce_type": "`ota.upgrade.baseline`, `.status_changed`, `.progressed`, `.stalled`, `.resumed`, `.version_changed`,"
    " `ota.device.removed` or `ota.device.returned`",
    "ce_time": "`observed_at_ms` as RFC 3339",
    "ce_subject": "the device id",
    "ce_dataschema": "the `$id` of the value's schema",
    "ce_status": "as in the value, to filter without decoding it",
    "ce_phase": "as in the value",
    "ce_account": "as in the value",
    "ce_channel": "as in the value, where it has one",
    "ce_productid": "`product_id` of the value, where it has one",
    "content-type": "application/json",
}

TOPICS: Final[Mapping[str, Topic]] = {
    "upgrade-events": Topic(
        record=UpgradeEvent,
        summary="The log of changes. Public. CloudEvents 1.0 in binary mode; read it with read_committed.",
        key="the device id",
        headers=CLOUD_EVENT_HEADERS,
    ),
    "upgrade-state": Topic(
        record=UpgradeState,
        summary="The latest truth about each device. Public, compacted.",
        key="the device id",
        headers={"bookkeeping": "the bridge's own (msgpack)"},
        tombstone="the device was removed a day ago",
    ),
    "dead-letters": Topic(
        record=DeadLetter,
        summary="Inputs that could never succeed, with their reason. For operators.",
        key="`source_position` of the value",
    ),
    "observations": Topic(
        record=Observation,
        summary="Everything the bridge learned, pushed or asked for. The fold's input; evidence for anyone.",
        key="the device id; null for kind `gap`, which is in every partition",
    ),
    "lookups": Topic(record=LookupRequest, summary="What the fold wants to ask a cloud.", key="the account"),
    "ingest-progress": Topic(
        record=IngestProgress,
        summary="How far the gateway was read. Compacted.",
        key="`<account>/<source partition>`",
    ),
}


def documents(prefix: str = "ota") -> dict[str, bytes]:
    """Return every document by its file name. `prefix` begins the topics' names."""
    files = {
        f"{_slug(topic.record)}.v{MAJOR}.schema.json": json_schema(topic.record) for topic in TOPICS.values()
    }
    files["asyncapi.json"] = asyncapi(prefix)
    return {
        name: msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n" for name, body in files.items()
    }


def json_schema(record: type[Struct]) -> dict[str, Any]:
    """Return one record's schema, with everything it refers to."""
    _, components = msgspec.json.schema_components([record], ref_template="#/definitions/{name}")
    definitions = {name: _tidied(component) for name, component in components.items()}
    own = definitions.pop(record.__name__)
    head = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": f"urn:tuya-ota-bridge:schema:{_slug(record)}:{MAJOR}",
    }
    schema: dict[str, Any] = head | own
    return schema | {"definitions": definitions} if definitions else schema


def asyncapi(prefix: str) -> dict[str, Any]:
    """Return the AsyncAPI document: what the bridge sends on which topic."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tuya-ota-bridge",
            "version": f"{MAJOR}.0.0",
            "description": "One truth about firmware upgrades on Kafka. Keys map to partitions by Kafka's murmur2"
            " (librdkafka: partitioner=murmur2_random). Enumerations are open but for status and phase: skip what you"
            " do not know. Fields may be added within a major version.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            name: {
                "address": f"{prefix}.{name}.v{MAJOR}",
                "summary": topic.summary,
                "messages": {topic.record.__name__: _message(topic)},
                "bindings": {"kafka": {"topic": f"{prefix}.{name}.v{MAJOR}", "bindingVersion": "0.5.0"}},
            }
            for name, topic in TOPICS.items()
        },
        "operations": {
            f"send-{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
                "messages": [{"$ref": f"#/channels/{name}/messages/{topic.record.__name__}"}],
            }
            for name, topic in TOPICS.items()
        },
    }


def _message(topic: Topic) -> dict[str, Any]:
    key = {"type": "string", "description": topic.key}
    message: dict[str, Any] = {
        "name": topic.record.__name__,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-07",
            "schema": {"$ref": f"./{_slug(topic.record)}.v{MAJOR}.schema.json"},
        },
        "bindings": {"kafka": {"key": key, "bindingVersion": "0.5.0"}},
    }
    if topic.headers:
        message["headers"] = {
            "type": "object",
            "properties": {
                name: {"type": "string", "description": text} for name, text in topic.headers.items()
            },
        }
    if topic.tombstone is not None:
        message["description"] = f"A null value: {topic.tombstone}."
    return message


def _slug(record: type[Struct]) -> str:
    """Return `upgrade-event` of `UpgradeEvent`."""
    name = record.__name__
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def _tidied(schema: Any) -> Any:
    """Return the schema as the topics have it: an absent value is left out, never null."""
    if isinstance(schema, list):
        return [_tidied(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("anyOf")
    if kinds is not None and {"type": "null"} in kinds:
        present = [kind for kind in kinds if kind != {"type": "null"}]
        rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
        schema = rest | (present[0] if len(present) == 1 else {"anyOf": present})
    tidied = {key: _tidied(value) for key, value in schema.items() if (key, value) != ("default", None)}
    if isinstance(tidied.get("description"), str):
        tidied["description"] = inspect.cleandoc(tidied["description"])
    return tidied
