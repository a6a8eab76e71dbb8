"""docs/tuya-cloud.md: every message that the bridge understands is named, and every address is a usable one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.config.addresses import API, GATEWAY, mistake_in
from consumer.messages import BY_BIZ_CODE

PAGE = (Path(__file__).parents[3] / "docs" / "tuya-cloud.md").read_text(encoding="utf-8")


def test_every_message_that_is_understood_is_named() -> None:
    rows = re.findall(r"^   \| (`[^|]*`) \|", PAGE, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}

    assert named == set(BY_BIZ_CODE)


@pytest.mark.parametrize(("scheme", "kind", "count"), [("pulsar\\+ssl", GATEWAY, 7), ("https", API, 6)])
def test_every_address_passes_the_check_of_the_configuration(scheme: str, kind: object, count: int) -> None:
    addresses = re.findall(rf"`({scheme}://[^`]*)`", PAGE)

    assert len(addresses) == count
    assert [mistake_in(each, kind, tls_verify=True) for each in addresses] == [None] * count  # type: ignore[arg-type]
