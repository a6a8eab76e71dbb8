from __future__ import annotations

from bridge.reconcile.repeats import AGAIN_AFTER_S, RepeatedTrouble


def test_trouble_that_lasts_is_told_when_it_changes_and_then_now_and_then_with_a_count() -> None:
    now = 0.0
    trouble = RepeatedTrouble(lambda: now)

    assert trouble.met("TimeoutError") == 1
    assert trouble.met("TimeoutError") is None
    assert trouble.met("TimeoutError") is None
    assert trouble.met("NodeNotReadyError") == 3
    now += AGAIN_AFTER_S
    assert trouble.met("NodeNotReadyError") == 1
    assert trouble.met("NodeNotReadyError") is None

    assert trouble.text == "NodeNotReadyError"
    assert trouble.over()
    assert not trouble.over()
    assert trouble.text is None
    assert trouble.met("NodeNotReadyError") == 1
