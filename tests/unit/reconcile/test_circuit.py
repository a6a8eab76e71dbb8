from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge.clouds import errors
from bridge.reconcile.backoff import doubled
from bridge.reconcile.circuit import FAILURES_IN_A_ROW, Circuit


def fail(circuit: Circuit, error: errors.CloudError, now: float = 0.0, device: str = "dev1") -> None:
    circuit.failed(circuit.admit(), error, device, now)


def unanswered() -> errors.CloudError:
    return errors.Unanswered("down", api="test")


@pytest.mark.parametrize("kind", [errors.Forbidden, errors.QuotaExhausted])
def test_a_refused_account_is_left_alone_then_one_lookup_decides(kind: type[errors.CloudError]) -> None:
    circuit = Circuit(1800)
    fail(circuit, kind("no", api="test", code="28841004"))

    assert circuit.state(1799.9) == "open"
    assert circuit.cause is not None
    assert (circuit.cause.error, circuit.cause.code) == (kind.error, "28841004")
    assert circuit.state(1800) == "half_open"
    fail(circuit, kind("no", api="test"), 1800)
    assert circuit.state(3599) == "open"
    assert circuit.state(3600) == "half_open"
    circuit.answered(circuit.admit())
    assert circuit.state(3600) == "closed"
    assert circuit.cause is None


def test_a_cloud_that_does_not_answer_is_tried_again_ever_more_rarely() -> None:
    circuit, now, waits = Circuit(1800), 0.0, []
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(circuit, unanswered())
        assert circuit.state(now) == "closed"
    for _ in range(9):
        fail(circuit, unanswered(), now)
        opens_again_at = circuit.opens_again_at()
        assert opens_again_at is not None
        waits.append(opens_again_at - now)
        now = opens_again_at
        assert circuit.state(now) == "half_open"

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    circuit.answered(circuit.admit())
    for _ in range(FAILURES_IN_A_ROW):
        fail(circuit, unanswered(), now)
    assert circuit.opens_again_at() == now + 1


def test_one_answer_between_failures_keeps_the_circuit_closed() -> None:
    circuit = Circuit(1800)
    for _ in range(10):
        for _ in range(FAILURES_IN_A_ROW - 1):
            fail(circuit, unanswered())
        circuit.answered(circuit.admit())

    assert circuit.state(0.0) == "closed"


@pytest.mark.parametrize("kind", [errors.DeviceNotFound, errors.DeviceOffline, errors.BadRequest])
def test_a_refusal_about_the_device_is_an_answer(kind: type[errors.CloudError]) -> None:
    circuit = Circuit(1800)
    for _ in range(FAILURES_IN_A_ROW - 1):
        fail(circuit, unanswered())
    fail(circuit, kind("no", api="test"))
    fail(circuit, unanswered())

    assert circuit.state(0.0) == "closed"


def test_five_different_forbidden_devices_in_a_row_open_the_circuit() -> None:
    circuit = Circuit(1800)
    for number in range(4):
        fail(circuit, errors.DeviceForbidden("no", api="test"), device=f"dev{number}")
    for _ in range(10):
        fail(circuit, errors.DeviceForbidden("no", api="test"), device="dev0")
    assert circuit.state(0.0) == "closed"

    fail(circuit, errors.DeviceForbidden("no", api="test"), device="dev4")

    assert circuit.state(0.0) == "open"


def test_an_answer_in_between_begins_the_count_of_forbidden_devices_anew() -> None:
    circuit = Circuit(1800)
    for number in range(20):
        fail(circuit, errors.DeviceForbidden("no", api="test"), device=f"dev{number}")
        circuit.answered(circuit.admit())

    assert circuit.state(0.0) == "closed"


def test_one_forbidden_device_does_not_keep_an_account_out_that_answers_again() -> None:
    circuit = Circuit(1800)
    fail(circuit, errors.QuotaExhausted("no", api="test"))
    assert circuit.state(1800) == "half_open"

    fail(circuit, errors.DeviceForbidden("no", api="test"), 1800)

    assert circuit.state(1800) == "closed"


def test_results_of_an_earlier_state_do_not_count() -> None:
    circuit = Circuit(1800)
    early = circuit.admit()
    fail(circuit, errors.QuotaExhausted("no", api="test"))
    circuit.answered(early)
    assert circuit.state(0.0) == "open"

    assert circuit.state(1800) == "half_open"
    circuit.answered(early)
    circuit.failed(early, unanswered(), "dev1", 1800)
    assert circuit.state(1800) == "half_open"


@pytest.mark.parametrize("kind", [errors.AuthRefused, errors.Misconfigured])
def test_a_refusal_for_good_stops_the_account_whenever_it_comes(kind: type[errors.CloudError]) -> None:
    circuit = Circuit(1800)
    early = circuit.admit()
    fail(circuit, errors.QuotaExhausted("no", api="test"))

    circuit.failed(early, kind("wrong key", api="token"), "dev1", 0.0)

    assert circuit.state(0.0) == "stopped"
    circuit.answered(circuit.admit())
    assert circuit.state(0.0) == "stopped"


def test_a_configuration_that_cannot_work_is_never_tried_again() -> None:
    circuit = Circuit(1800)
    fail(circuit, errors.Misconfigured("no such host", api="token"))

    assert circuit.state(10**9) == "stopped"
    assert circuit.opens_again_at() is None


def test_refused_credentials_are_tried_again_ever_more_seldom_and_at_least_once_an_hour() -> None:
    circuit, now, pauses = Circuit(1800), 0.0, []
    for _ in range(5):
        fail(circuit, errors.AuthRefused("wrong key", api="token"), now)
        # Those that were under way change nothing.
        fail(circuit, errors.AuthRefused("wrong key", api="token"), now + 5)
        again_at = circuit.opens_again_at()
        assert again_at is not None
        pauses.append(again_at - now)
        assert circuit.state(again_at - 1) == "stopped"
        assert circuit.state(again_at) == "half_open"
        now = again_at
    assert pauses == [600, 1200, 2400, 3600, 3600]

    circuit.answered(circuit.admit())

    assert circuit.state(now) == "closed"
    fail(circuit, errors.AuthRefused("wrong key", api="token"), now)
    assert circuit.opens_again_at() == now + 600


@pytest.mark.parametrize("times", [0, 1, 5, 5000])
def test_what_is_tried_for_ever_waits_no_longer_than_the_most(times: int) -> None:
    assert doubled(1.0, 60.0, times) == min(60.0, 2.0 ** min(times, 10))


@pytest.mark.parametrize("kind", [errors.AuthRefused, errors.Unanswered])
def test_a_cloud_may_refuse_for_months(kind: type[errors.CloudError]) -> None:
    circuit, now = Circuit(1800), 0.0
    for _ in range(3000):
        fail(circuit, kind("no", api="token"), now)
        now += 3600
    assert circuit.state(now) == "half_open"


def test_a_cloud_that_does_not_answer_has_not_taken_the_refused_credentials() -> None:
    circuit = Circuit(1800)
    fail(circuit, errors.AuthRefused("wrong key", api="token"))
    assert circuit.state(600) == "half_open"

    fail(circuit, unanswered(), 600)

    assert circuit.state(600) == "open"
    assert circuit.cause is not None
    assert circuit.cause.error == "auth_fatal"


@pytest.mark.parametrize(
    ("error", "is_admitted"),
    [
        (errors.AuthRefused("wrong key", api="token"), True),
        (errors.QuotaExhausted("no", api="test"), False),
        (errors.Forbidden("no", api="test"), False),
    ],
)
def test_a_sweep_tries_a_cloud_that_refused_whoever_asked_and_no_other(
    error: errors.CloudError, *, is_admitted: bool
) -> None:
    circuit = Circuit(600)
    assert circuit.admits_sweep(0.0)
    fail(circuit, error)
    assert not circuit.admits_sweep(599.0)

    assert circuit.admits_sweep(600.0) is is_admitted


def fail_reading(circuit: Circuit, error: errors.CloudError, now: float = 0.0) -> None:
    circuit.not_read(circuit.admit(), error, now)


def test_two_readings_in_a_row_that_nobody_answers_open_the_circuit_and_the_first_answer_closes_it() -> None:
    circuit = Circuit(1800)
    fail_reading(circuit, unanswered())
    assert circuit.state(0.0) == "closed"
    fail_reading(circuit, unanswered())

    assert circuit.state(0.0) == "open"
    assert circuit.cause is not None
    assert circuit.cause.text == "down"
    assert circuit.opens_again_at() == 1
    assert circuit.state(1) == "half_open"
    fail_reading(circuit, unanswered(), 60)
    assert circuit.opens_again_at() == 62
    assert circuit.state(62) == "half_open"
    circuit.read(circuit.admit())
    assert circuit.state(62) == "closed"
    assert circuit.cause is None


@pytest.mark.parametrize("answered", [Circuit.read, Circuit.answered])
def test_an_answer_to_anybody_begins_the_count_of_readings_anew(
    answered: Callable[[Circuit, int], None],
) -> None:
    circuit = Circuit(1800)
    for _ in range(10):
        fail_reading(circuit, unanswered())
        answered(circuit, circuit.admit())

    assert circuit.state(0.0) == "closed"


def test_pages_that_come_do_not_begin_the_count_of_lookups_anew() -> None:
    circuit = Circuit(1800)
    for _ in range(FAILURES_IN_A_ROW):
        circuit.read(circuit.admit())
        fail(circuit, unanswered())

    assert circuit.state(0.0) == "open"


@pytest.mark.parametrize(
    "kind",
    [
        errors.Forbidden,
        errors.QuotaExhausted,
        errors.BadRequest,
        errors.SchemaMismatch,
        errors.Throttled,
        errors.DeviceForbidden,
    ],
)
def test_what_a_list_alone_may_be_refused_closes_the_account_to_no_lookup(
    kind: type[errors.CloudError],
) -> None:
    circuit = Circuit(1800)
    for _ in range(20):
        fail_reading(circuit, kind("no", api="list", asked_at_ms=1))

    assert circuit.state(0.0) == "closed"


@pytest.mark.parametrize(("asked_at_ms", "state"), [(1, "closed"), (None, "half_open")])
def test_a_refused_list_is_an_answer_where_the_cloud_was_asked(asked_at_ms: int | None, state: str) -> None:
    circuit = Circuit(1800)
    for _ in range(2):
        fail_reading(circuit, unanswered())
    assert circuit.state(1) == "half_open"

    fail_reading(circuit, errors.BadRequest("no", api="list", asked_at_ms=asked_at_ms), 1)

    assert circuit.state(1) == state


def test_a_reading_of_an_earlier_state_does_not_count() -> None:
    circuit = Circuit(1800)
    early = circuit.admit()
    fail(circuit, errors.QuotaExhausted("no", api="test"))
    assert circuit.state(1800) == "half_open"

    circuit.read(early)
    circuit.not_read(early, unanswered(), 1800)

    assert circuit.state(1800) == "half_open"


def test_a_listing_tries_beside_sweeps_only_where_readings_opened_the_circuit() -> None:
    by_lookups, by_readings = Circuit(1800), Circuit(1800)
    for _ in range(FAILURES_IN_A_ROW):
        fail(by_lookups, unanswered())
        fail_reading(by_readings, unanswered())

    assert by_lookups.state(60) == by_readings.state(60) == "half_open"
    assert not by_lookups.admits_listing(60)
    assert by_readings.admits_listing(60)
