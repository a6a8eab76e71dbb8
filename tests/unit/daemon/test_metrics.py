"""`/metrics` tells what `/status` does: in Prometheus' format, under the names of docs/status.md, in few labels."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.fold.statistics import FoldStatistics
from bridge.http import LoopLag, Pages
from bridge.kafka.writer import WriterStatistics
from bridge.metrics.collector import StatusCollector
from bridge.reconcile.circuit import Cause
from bridge.reconcile.limits import PaceStatistics
from bridge.reconcile.queue import QueueStatistics
from bridge.reconcile.statistics import (
    AccountStatistics,
    DiscoveryStatistics,
    PackageStatistics,
    ReconcileStatistics,
    SweepStatistics,
)
from bridge.status import KafkaStatus, Status
from bridge.supervisor import StageStatus
from consumer.account import AccountIngest
from consumer.statistics import AccountStatistics as GatewayStatistics
from consumer.statistics import BacklogAlert, IngestStatistics
from tests.gateway_messages import account as gateway_account

PAGE = (Path(__file__).parents[3] / "docs" / "status.md").read_text(encoding="utf-8")


class NoSink:
    """Nothing is written."""


def gateway(**told: object) -> GatewayStatistics:
    ingest = AccountIngest(gateway_account(), NoSink(), past=None, close_deadline_s=1.0)  # type: ignore[arg-type]
    counts = {
        "state": "running",
        "received": 101,
        "redelivered": 102,
        "filtered": {"4": 103},
        "unlisted": {"somebody's": 104, "other": 1},
        "observations": {"status": 106},
        "dead_letters": {"bad_signature": 107},
        "signatures": {"all_fields": 108},
        "keys": {"current": 109},
        "acknowledged": 110,
        "subscriptions": 111,
        "unconfirmed_messages": 112,
        "unconfirmed_bytes": 113,
        "oldest_unacknowledged_age_s": 0.25,
        "alive_age_s": 3.5,
        "gaps": 114,
        "backlog_unknown": "it does not answer",
        "backlog_alert": BacklogAlert(
            sent_at_ms=1_700_000_000_500,
            data_center=None,
            topic=None,
            subscription=None,
            own_subscription=True,
            backlog_messages=None,
        ),
    }
    return GatewayStatistics(
        **{name: getattr(ingest.statistics(), name) for name in GatewayStatistics.__struct_fields__}
        | counts
        | told
    )


def api(name: str, *, cause: Cause | None = None, owned: bool = True) -> AccountStatistics:
    return AccountStatistics(
        account=name,
        cloud="hedwig",
        url="https://hedwig.example",
        owned=owned,
        circuit="closed" if cause is None else "open",
        cause=cause,
        opens_again_in_s=None if cause is None else 1800.0,
        clock_offset_ms=-250,
        in_flight=1,
        answers={"ok": 301},
        errors={"quota": 302},
        queue=QueueStatistics(waiting=3, by_cause={"claim": 303}, coalesced=0, expired=304, displaced=1000),
        pace=PaceStatistics(requests=305, in_flight=1, waiting=0, throttled=306, paused_for_s=0.5),
        discovery=DiscoveryStatistics(finished_at_ms=1_700_000_000_000),
        sweep=SweepStatistics(finished_at_ms=1_700_000_001_000),
        packages=PackageStatistics(failures=403),
        answered_by_others=0,
    )


def status(*apis: AccountStatistics) -> Status:
    stages = {
        "consumer": IngestStatistics(accounts={"home": gateway()}),
        "fold": FoldStatistics(
            partitions_folding=(0, 1),
            partitions_taking_over=(2,),
            devices=201,
            problem=None,
            queued=202,
            behind=(0,),
            in_gap=(),
            lookups_waiting=203,
            counts={"events": 204},
        ),
        "reconcile": ReconcileStatistics(
            connected=True,
            problem=None,
            partitions=(1,),
            proven_s_ago=0.1,
            lookups_read=9,
            malformed=401,
            unknown_account=402,
            accounts=apis or (api("lamps"),),
        ),
    }
    return Status(
        version="1.2.3",
        started_at_ms=1_700_000_000_000,
        uptime_s=5.0,
        stopping=False,
        warnings=("home.gateway.tls_verify",),
        kafka=KafkaStatus(state="ready", bootstrap_servers="localhost:9092"),
        accounts={},
        stages={
            name: StageStatus(state="running", restarts=5, statistics=told) for name, told in stages.items()
        },
        shared={
            "writer": WriterStatistics(
                connected=True,
                problem=None,
                queued_records=401,
                queued_bytes=402,
                confirmed=403,
                refused=404,
                batches=9,
                producers=405,
            )
        },
    )


def samples(told: Status) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    text = StatusCollector(lambda: told, lambda: 0.002).text().decode()
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_the_whole_text() -> None:
    """Every value is another one, so that none stands under a wrong name; read `metrics.txt` when it changes."""
    text = StatusCollector(status, lambda: 0.002).text().decode()

    assert text == (Path(__file__).parent / "metrics.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("show_status", [True, False])
async def test_prometheus_is_always_answered(*, show_status: bool) -> None:
    lag = LoopLag()
    pages = Pages(lag=lag, alive=lambda: True, status=status, show_status=show_status)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(pages.application), base_url="http://bridge"
    ) as client:
        answer = await client.get("/metrics")

    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.content == StatusCollector(status, lag.worst_s).text()


def test_what_is_known_to_happen_is_there_before_it_does() -> None:
    told = samples(status())

    assert (
        told["ota_bridge_gateway_dead_letters_total"][("account", "home"), ("reason", "undecryptable")] == 0
    )
    assert told["ota_bridge_fold_happened_total"][("what", "offsets_missing"),] == 0


def test_an_account_that_is_refused_is_told_by_name_and_class_and_the_others_are_not() -> None:
    cause = Cause(error="quota", api="query-ota-firmware", text="no quota left", remedy="extend the plan")

    told = samples(status(api("lamps", cause=cause), api("locks")))

    assert told["ota_bridge_api_refused"] == {
        (("account", "lamps"), ("api", "query-ota-firmware"), ("cloud", "hedwig"), ("error", "quota")): 1.0
    }
    shut = {labels for labels, value in told["ota_bridge_api_circuit"].items() if value}
    assert shut == {
        (("account", "lamps"), ("cloud", "hedwig"), ("state", "open")),
        (("account", "locks"), ("cloud", "hedwig"), ("state", "closed")),
    }
    assert told["ota_bridge_api_tried_again_in_seconds"] == {
        (("account", "lamps"), ("cloud", "hedwig")): 1800.0
    }


def test_how_an_api_fares_is_told_by_its_owner_alone() -> None:
    told = samples(status(api("lamps", owned=False)))

    assert told["ota_bridge_api_owned"] == {(("account", "lamps"), ("cloud", "hedwig")): 0.0}
    assert "ota_bridge_api_circuit" not in told


def test_values_have_base_units_and_what_is_not_known_is_left_out() -> None:
    told = samples(status())

    home = (("account", "home"),)
    assert told["ota_bridge_gateway_alive_age_seconds"] == {home: 3.5}
    assert told["ota_bridge_start_timestamp_seconds"] == {(): 1_700_000_000.0}
    assert told["ota_bridge_api_clock_offset_seconds"][("account", "lamps"), ("cloud", "hedwig")] == -0.25
    assert told["ota_bridge_kafka_up"] == {(): 1.0}
    assert "ota_bridge_api_tried_again_in_seconds" not in told


def test_what_a_stranger_wrote_is_no_label() -> None:
    told = samples(status())

    assert told["ota_bridge_gateway_unlisted_total"] == {(("account", "home"),): 105.0}
    assert "somebody" not in str(told)


def test_a_stage_that_has_not_begun_is_told_by_its_state_alone() -> None:
    waiting = {"consumer": StageStatus(state="waiting", restarts=0)}
    told = status()
    bare = Status(
        **{
            name: waiting if name == "stages" else {} if name == "shared" else getattr(told, name)
            for name in Status.__struct_fields__
        }
    )

    assert not [name for name in samples(bare) if "gateway" in name or "writer" in name]
    assert samples(bare)["ota_bridge_stage_state"][("stage", "consumer"), ("state", "waiting")] == 1.0


def test_every_metric_is_told_on_the_page_with_its_labels_and_no_other() -> None:
    cause = Cause(error="quota", api="token", text="no quota left", remedy="extend the plan")
    told = samples(status(api("lamps", cause=cause)))
    found = re.search(r"^## `/metrics`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", found[1], re.MULTILINE)

    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == {
        name: {label for label, _ in next(iter(values))} for name, values in told.items()
    }


@pytest.mark.parametrize("name", sorted(samples(status())))
def test_names_follow_prometheus_habits(name: str) -> None:
    assert re.fullmatch(r"ota_bridge_[a-z_]+", name)
    assert not re.search(r"(_ms|_s|_count)$", name)
