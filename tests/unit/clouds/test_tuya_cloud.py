"""What a lookup and a listing make of a Tuya cloud, asked through the strict model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.clouds import errors
from bridge.clouds.shape import Means
from bridge.clouds.tuya.subscriptions import SUBSCRIPTION_MS
from bridge.clouds.tuya_cloud.cloud import TuyaCloud
from bridge.clouds.wire import Answer, Request
from schemas import Observation, Reason
from tests.tuya_model import ACCESS_KEY, TuyaModel, failure, tuya_account
from tests.virtual_time import in_virtual_time, now_ms

HTML = Answer(status=200, headers={}, body=b"<html>busy</html>")
BUSY = Answer(status=503, headers={}, body=b"")


class FreePace:
    def __init__(self) -> None:
        self.turns = 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        self.turns += 1
        yield


def asked(
    model: TuyaModel, *, now: Callable[[], int] = now_ms, pace: FreePace | None = None, **api: Any
) -> TuyaCloud:
    means = Means(transport=model, pace=pace or FreePace(), now_ms=now, jitter=lambda: 1.0)
    return TuyaCloud(tuya_account(**api), means)


async def observed(cloud: TuyaCloud, device_id: str = "dev1") -> dict[str | None, Observation]:
    looked = await cloud.lookup(device_id)
    return {observation.channel: observation for observation in looked.observations}


@in_virtual_time
async def test_each_channel_becomes_one_observation_with_all_it_tells() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = [
        {"type": 0, "upgrade_status": 0, "current_version": "1.1.5"},
        {"type": 9, "upgrade_status": 2, "current_version": "1.0.0", "version": "1.0.2", "timeout": 60},
    ]
    model.progress["dev1", "9"] = {"upgrade_status": 2, "progress": 30}

    found = await observed(asked(model))

    main, mcu = found["0"], found["9"]
    assert (main.kind, main.status, main.vendor_status, main.current_version) == (
        "status",
        "idle",
        "0",
        "1.1.5",
    )
    assert (mcu.status, mcu.undivided, mcu.progress, mcu.target_version, mcu.vendor_timeout_s) == (
        "installing",
        True,
        30,
        "1.0.2",
        60,
    )
    assert (main.evidence.origin, main.evidence.name) == ("lookup", "thing-firmware")
    assert (main.account, main.cloud, main.device_id) == ("tuya-test", "tuya-cloud", "dev1")


@in_virtual_time
async def test_progress_is_asked_only_for_channels_that_are_being_upgraded() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = [{"type": channel, "upgrade_status": channel} for channel in (0, 3, 4, 5, 7)]

    await observed(asked(model))

    assert model.asked["thing-firmware-progress"] == 0


@in_virtual_time
async def test_a_lookup_survives_its_progress_call() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 2, "current_version": "1"}
    model.faults.extend([None, failure(2009)])

    found = await observed(asked(model))

    assert (found["0"].status, found["0"].progress) == ("installing", None)


@in_virtual_time
async def test_a_value_without_a_status_becomes_versions() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = [
        {"type": 0, "upgrade_status": 100, "current_version": "1"},
        {"type": 1, "upgrade_status": 1, "current_version": "2", "version": "2"},
        {"type": 2, "upgrade_status": "soon", "current_version": "3"},
        {"type": 3, "current_version": "4"},
    ]

    found = await observed(asked(model))

    assert [(one.kind, one.status, one.vendor_status) for one in found.values()] == [
        ("versions", None, "100"),
        ("versions", None, "1"),
        ("versions", None, "soon"),
        ("versions", None, None),
    ]


NINES = "9" * 5000


@in_virtual_time
async def test_a_time_that_is_no_number_is_not_heeded() -> None:
    model = TuyaModel(now_ms)
    body = f'{{"success":true,"result":{{"type":0,"upgrade_status":0}},"t":"{NINES}"}}'
    model.faults.append(Answer(status=200, headers={}, body=body.encode()))

    assert (await observed(asked(model)))["0"].status == "idle"


@in_virtual_time
async def test_a_code_that_is_no_number_is_misunderstood() -> None:
    model = TuyaModel(now_ms)
    model.faults.append(Answer(status=200, headers={}, body=f'{{"success":false,"code":"{NINES}"}}'.encode()))

    with pytest.raises(errors.SchemaMismatch):
        await asked(model).lookup("dev1")


@in_virtual_time
async def test_a_timeout_beyond_any_is_not_told() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 5, "timeout": "99999999999999999999"}

    assert (await observed(asked(model)))["0"].vendor_timeout_s is None


@in_virtual_time
async def test_a_timeout_brings_its_reason() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"upgrade_status": 7}

    found = await observed(asked(model))

    assert found["0"].reason == Reason(code="vendor_timeout", vendor_code="7")


@in_virtual_time
async def test_evidence_never_leads_to_the_package() -> None:
    model = TuyaModel(now_ms)
    secret = {"url": "https://x/?sig=1", "md5": "m", "sign": "s", "token": "t", "type_desc": {"url": "u"}}
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0, "desc": "note", "version": None} | secret

    found = await observed(asked(model))

    assert found["0"].evidence.raw == {"type": 0, "upgrade_status": 0, "desc": "note"}


@in_virtual_time
async def test_a_huge_evidence_is_cut_and_told_by_its_hash() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0, "desc": "ä" * 300_000}

    evidence = (await observed(asked(model)))["0"].evidence

    assert isinstance(evidence.raw, str)
    assert len(evidence.raw.encode()) <= 256 * 1024
    assert evidence.raw_bytes is not None
    assert evidence.raw_bytes > 600_000
    assert len(evidence.raw_sha256 or "") == 64


@in_virtual_time
async def test_the_time_of_asking_is_the_vendors_when_the_status_was_asked_for() -> None:
    model = TuyaModel(now_ms, latency_s=0.2, skew_ms=90_000)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 2, "current_version": "1"}
    model.progress["dev1", "0"] = {"upgrade_status": 2, "progress": 1}
    cloud = asked(model)

    looked = await cloud.lookup("dev1")

    at_ms, target = model.requests[1]
    assert target.endswith("/firmware")
    # The model notes the arrival after its latency; half of it is what a measurement by answers cannot know.
    assert abs(looked.asked_at_ms - (at_ms - 200)) <= 101
    assert {one.asked_at_ms for one in looked.observations} == {looked.asked_at_ms}
    assert abs(cloud.clock.offset_ms - 90_000) <= 101


@in_virtual_time
async def test_a_refused_clock_is_corrected_by_the_answer_and_the_request_sent_once_more() -> None:
    model = TuyaModel(now_ms, skew_ms=-3_600_000)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0}
    cloud = asked(model)

    await cloud.lookup("dev1")

    assert model.refused == ["time"]
    assert abs(cloud.clock.offset_ms + 3_600_000) <= 1


@in_virtual_time
async def test_a_clock_refused_twice_is_the_lookups_error() -> None:
    model = TuyaModel(now_ms)
    model.always = lambda _request: failure(1013)

    with pytest.raises(errors.ClockSkewed):
        await asked(model).lookup("dev1")

    assert model.asked["thing-firmware"] == 2


@in_virtual_time
async def test_a_refused_token_is_fetched_anew_once_and_the_request_sent_once_more() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0}
    cloud = asked(model)
    await cloud.lookup("dev1")
    model.tokens.clear()

    await cloud.lookup("dev1")

    assert model.asked["token"] == 2
    assert model.asked["thing-firmware"] == 3


@in_virtual_time
async def test_a_token_refused_twice_is_the_lookups_error() -> None:
    model = TuyaModel(now_ms)
    model.always = lambda _request: failure(1010)

    with pytest.raises(errors.TokenRejected):
        await asked(model).lookup("dev1")

    assert (model.asked["token"], model.asked["thing-firmware"]) == (2, 2)


@in_virtual_time
async def test_a_hundred_lookups_fetch_one_token_and_no_more_when_it_ends() -> None:
    model = TuyaModel(now_ms, latency_s=0.1)
    model.old_tokens_end = True
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0}
    cloud = asked(model)

    await asyncio.gather(*(cloud.lookup("dev1") for _ in range(100)))
    assert model.asked["token"] == 1

    model.tokens.clear()
    await asyncio.gather(*(cloud.lookup("dev1") for _ in range(100)))
    assert model.asked["token"] == 2


@in_virtual_time
async def test_what_may_pass_is_tried_three_times() -> None:
    model = TuyaModel(now_ms)
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 0}
    model.faults.extend([HTML, BUSY])
    assert (await observed(asked(model)))["0"].status == "idle"

    model.faults.extend([HTML, failure(500), errors.Unanswered("reset", api="thing-firmware"), HTML])
    with pytest.raises(errors.Unanswered):
        await asked(model).lookup("dev1")
    assert len(model.faults) == 1


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1004, errors.AuthRefused),
        (1106, errors.DeviceForbidden),
        (2010, errors.DeviceNotFound),
        (2009, errors.DeviceUnsupported),
        (1109, errors.BadRequest),
        (28841002, errors.Forbidden),
        (28841004, errors.QuotaExhausted),
        (4711, errors.SchemaMismatch),
    ],
)
@in_virtual_time
async def test_a_refusal_is_not_repeated_and_knows_when_it_was_asked(
    code: int, kind: type[errors.CloudError]
) -> None:
    model = TuyaModel(now_ms, skew_ms=50_000)
    model.always = lambda _request: failure(code)

    with pytest.raises(kind) as caught:
        await asked(model).lookup("dev1")

    assert model.asked["thing-firmware"] == 1
    assert caught.value.code == str(code)
    assert caught.value.trace_id == "trace"
    assert abs((caught.value.asked_at_ms or 0) - now_ms() - 50_000) <= 1


@pytest.mark.parametrize("code", [28841101, 28841105])
@in_virtual_time
async def test_an_api_without_subscription_is_replaced_by_its_predecessor_for_a_day(code: int) -> None:
    model = TuyaModel(now_ms)
    model.legacy["dev1"] = [{"module_type": 4, "upgrade_status": 2, "upgrade_version": "2"}]
    model.always = lambda request: failure(code) if "/v2.0/" in request.target else None
    cloud = asked(model)

    for _ in range(3):
        found = await observed(cloud)
    await asyncio.sleep(SUBSCRIPTION_MS / 1000)
    await observed(cloud)

    assert (found["4"].status, found["4"].target_version) == ("installing", "2")
    assert found["4"].evidence.name == "iot-03-upgrade-infos"
    assert model.asked["thing-firmware"] == 2
    assert model.asked["thing-firmware-progress"] == 0


@in_virtual_time
async def test_without_any_subscription_the_account_is_refused_and_all_are_asked_again_later() -> None:
    model = TuyaModel(now_ms)
    model.always = lambda _request: failure(28841101)
    cloud = asked(model)

    for _ in range(2):
        with pytest.raises(errors.Forbidden):
            await cloud.lookup("dev1")

    assert model.asked["thing-firmware"] == model.asked["upgrade-infos"] == 2


@in_virtual_time
async def test_every_request_takes_its_turn_those_for_tokens_too() -> None:
    model, pace = TuyaModel(now_ms), FreePace()
    model.firmware["dev1"] = {"type": 0, "upgrade_status": 2}
    model.progress["dev1", "0"] = {"upgrade_status": 2, "progress": 1}

    await asked(model, pace=pace).lookup("dev1")

    assert pace.turns == len(model.requests) == 3


@in_virtual_time
async def test_the_device_list_is_read_to_its_end_without_a_repeat() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev/{number}", "productId": "p1", "localKey": "secret"} for number in range(45)]

    pages = [page async for page in asked(model, discovery="api").discover()]

    assert [len(page) for page in pages] == [20, 20, 5]
    assert [device.device_id for page in pages for device in page] == [
        f"dev/{number}" for number in range(45)
    ]
    assert pages[0][0].product_id == "p1"


@in_virtual_time
async def test_a_page_of_devices_without_ids_does_not_end_the_list_as_if_it_were_empty() -> None:
    model = TuyaModel(now_ms)
    model.devices = [{"id": f"dev{number}"} for number in range(40)]
    model.faults += [None, {"success": True, "result": [{"devId": f"dev{number}"} for number in range(20)]}]

    with pytest.raises(errors.SchemaMismatch, match="has an id"):
        [page async for page in asked(model, discovery="api").discover()]

    assert model.asked["thing-devices"] == 2


@in_virtual_time
async def test_a_device_list_that_does_not_move_on_ends_with_an_error() -> None:
    model = TuyaModel(now_ms)
    page = [{"id": f"dev{number}"} for number in range(20)]
    model.always = lambda request: {"success": True, "result": page} if "/device" in request.target else None

    with pytest.raises(errors.SchemaMismatch):
        [found async for found in asked(model, discovery="api").discover()]

    assert model.asked["thing-devices"] == 2


@in_virtual_time
async def test_a_file_stands_in_for_the_device_list(tmp_path: Path) -> None:
    file = tmp_path / "devices.txt"
    file.write_text("# ours\ndev1\n\n dev2  # the lamp\n" + "\n".join(f"x{number}" for number in range(1500)))
    cloud = asked(TuyaModel(now_ms), discovery="file", discovery_file=str(file))

    found = [device.device_id async for page in cloud.discover() for device in page]

    assert found[:2] == ["dev1", "dev2"]
    assert len(found) == 1502


@in_virtual_time
async def test_a_missing_device_file_is_an_error_of_the_listing() -> None:
    cloud = asked(TuyaModel(now_ms), discovery="file", discovery_file="/nowhere/devices.txt")

    with pytest.raises(errors.BadRequest, match="cannot be read"):
        [page async for page in cloud.discover()]


@in_virtual_time
async def test_nothing_that_is_printed_holds_a_secret() -> None:
    model = TuyaModel(now_ms)
    seen: list[Request] = []
    model.always = lambda request: seen.append(request) or failure(1004, "sign invalid")

    with pytest.raises(errors.AuthRefused) as caught:
        await asked(model).lookup("dev1")

    (token,) = model.tokens
    printed = f"{seen[0]!r} {caught.value!r} {caught.value}"
    assert token not in printed
    assert ACCESS_KEY not in printed
    assert seen[0].headers["sign"] not in printed
