"""The documents that other languages build their readers from say what the records are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from consumer.sink import TopicName
from schemas import STATUSES
from schemas.export import TOPICS, documents, json_schema
from schemas.upgrade_event import SCHEMA_ID, UpgradeEvent

FOLDER = Path(__file__).parents[3] / "docs" / "schemas"
RECORDS = [topic.record for topic in TOPICS.values()]


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every object inside a document."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts(value)


def test_documents_that_are_checked_in_are_fresh() -> None:
    checked_in = {file.name: file.read_bytes() for file in FOLDER.iterdir()}

    assert checked_in == documents(), "run `make docs`"


def test_every_topic_is_described() -> None:
    assert set(TOPICS) == set(get_args(TopicName))


@pytest.mark.parametrize("record", RECORDS)
def test_schema_requires_what_the_record_requires(record: type[msgspec.Struct]) -> None:
    schema = json_schema(record)

    fields = msgspec.structs.fields(record)
    assert set(schema["required"]) == {field.encode_name for field in fields if field.required}
    assert set(schema["properties"]) == {field.encode_name for field in fields}


@pytest.mark.parametrize("record", RECORDS)
def test_schemas_allow_new_fields_and_no_null(record: type[msgspec.Struct]) -> None:
    for part in parts(json_schema(record)):
        assert part.get("additionalProperties", True) is not False
        assert part.get("type") != "null"
        assert part.get("default", 0) is not None


@pytest.mark.parametrize("record", RECORDS)
def test_every_reference_leads_somewhere(record: type[msgspec.Struct]) -> None:
    schema = json_schema(record)

    for part in parts(schema):
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/definitions/") in schema["definitions"]


def test_status_is_closed_and_reason_codes_are_open() -> None:
    schema = json_schema(UpgradeEvent)

    assert set(schema["properties"]["status"]["enum"]) == set(STATUSES)
    assert "enum" not in schema["definitions"]["Reason"]["properties"]["code"]


def test_events_name_the_schema_that_is_published() -> None:
    assert json_schema(UpgradeEvent)["$id"] == SCHEMA_ID


def test_asyncapi_names_the_topics_with_their_prefix_and_finds_every_schema() -> None:
    files = documents("acme")
    document = msgspec.json.decode(files["asyncapi.json"])

    assert {channel["address"] for channel in document["channels"].values()} == {
        f"acme.{name}.v1" for name in TOPICS
    }
    for part in parts(document["channels"]):
        if "$ref" in part:
            assert part["$ref"].removeprefix("./") in files
