from __future__ import annotations

from bridge.reconcile.membership import Membership


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_proof_counts_for_half_the_session_from_when_it_was_asked_for() -> None:
    clock = Clock()
    membership = Membership(30.0, clock)
    assert not membership.is_fresh()

    sent_at = clock.now
    clock.now += 10  # the answer lay unread: the process was stopped
    membership.proved(sent_at)

    assert membership.is_fresh()
    clock.now = sent_at + 15
    assert not membership.is_fresh()


def test_an_older_proof_does_not_replace_a_newer() -> None:
    clock = Clock()
    membership = Membership(30.0, clock)
    membership.proved(100.0)
    membership.proved(50.0)

    assert membership.age_s() == 0.0


def test_revoked_partitions_end_the_proof() -> None:
    membership = Membership(30.0, Clock())
    membership.proved(100.0)

    membership.lost()

    assert not membership.is_fresh()
    assert membership.is_due()


def test_a_proof_is_due_often_enough_that_two_may_fail() -> None:
    clock = Clock()
    membership = Membership(30.0, clock)
    membership.proved(100.0)

    clock.now += 4.9
    assert not membership.is_due()
    clock.now += 0.2
    assert membership.is_due()
