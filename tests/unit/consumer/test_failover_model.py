"""Whatever the gateway does when source partitions change hands, nothing is lost and nothing overtakes."""

from __future__ import annotations

import pytest

from tests.failover_model import LOST_CONNECTIONS, TROUBLE, Failover

HISTORIES = 60
STEPS = 300


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_copies_that_come_and_go_lose_nothing_and_keep_the_order(seed: int) -> None:
    failover = Failover(seed)
    failover.run(STEPS, TROUBLE)
    assert (failover.faults, failover.disorder) == ([], [])


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_connections_that_are_lost_inside_an_entry_lose_nothing(seed: int) -> None:
    failover = Failover(seed)
    failover.run(STEPS, TROUBLE | LOST_CONNECTIONS)
    assert failover.faults == []
