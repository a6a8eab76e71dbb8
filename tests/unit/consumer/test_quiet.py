"""When the client has handed over all there was: what a quiet night is made of, beside busy topics too."""

from __future__ import annotations

from consumer.quiet import Presence, Quiet


def test_an_idle_subscription_is_caught_up_every_two_seconds() -> None:
    quiet = Quiet(0.0)
    told = 0
    for tick in range(1, 1001):
        quiet.receive(0, tick / 100, is_full=False)
        told += quiet.is_caught_up(tick / 100)
    assert told == 4
    assert quiet.silent_s(10.0) == 10.0


def test_one_that_never_rests_is_caught_up_whenever_the_client_has_no_more() -> None:
    quiet = Quiet(0.0)
    for tick in range(1, 301):
        quiet.receive(1000, tick / 100, is_full=True)
        assert not quiet.is_caught_up(tick / 100)
    quiet.receive(10, 3.01, is_full=False)
    assert quiet.is_caught_up(3.01)
    assert quiet.silent_s(3.01) == 0.0


def test_a_connection_that_was_away_has_to_flow_for_two_seconds_first() -> None:
    quiet = Quiet(0.0)
    quiet.interrupt(5.0)
    quiet.receive(0, 6.0, is_full=False)
    assert not quiet.is_caught_up(6.0)
    quiet.receive(0, 7.1, is_full=False)
    assert quiet.is_caught_up(7.1)
    assert quiet.silent_s(7.1) == 7.1


def test_a_pause_is_neither_silence_nor_caught_up() -> None:
    quiet = Quiet(0.0)
    quiet.pause(5.0)
    quiet.receive(0, 6.0, is_full=False)
    assert not quiet.is_caught_up(6.0)
    assert quiet.silent_s(6.0) == 1.0


def test_a_freeze_and_a_suspended_machine_are_noticed_once() -> None:
    presence = Presence(100.0, 5000.0)
    assert presence.absence_s(110.0, 5010.0) == 0
    assert presence.absence_s(910.0, 5810.0) == 800
    assert presence.absence_s(911.0, 9411.0) == 3601
    assert presence.absence_s(912.0, 9412.0) == 0
    assert presence.absence_s(913.0, 5000.0) == 0, "a clock that was set back says nothing"
