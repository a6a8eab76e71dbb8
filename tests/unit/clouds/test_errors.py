from __future__ import annotations

from typing import get_args

from bridge.clouds import errors
from bridge.clouds.retry import wait_s


def leaves(kind: type[errors.CloudError]) -> list[type[errors.CloudError]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in leaves(one)] if below else [kind]


def test_the_tree_speaks_the_whole_vocabulary_and_nothing_else() -> None:
    assert {leaf.error for leaf in leaves(errors.CloudError)} == set(get_args(errors.ErrorClass))


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = errors.__doc__ or ""

    for leaf in leaves(errors.CloudError):
        assert f"* {leaf.__name__} - `{leaf.error}`" in drawn
        assert f"* {leaf.__mro__[1].__name__}" in drawn


def test_only_transient_errors_are_tried_again() -> None:
    transient = {leaf.error for leaf in leaves(errors.Transient)}

    assert set(errors.RETRIES) == transient


def test_waits_double_up_to_their_limit_and_are_jittered_downwards() -> None:
    rule = errors.RetryRule(tries=9, first_wait_s=0.5, most_wait_s=4.0)

    assert [wait_s(rule, failures, 1.0) for failures in (1, 2, 3, 4, 5)] == [0.5, 1.0, 2.0, 4.0, 4.0]
    assert wait_s(rule, 4, 0.0) == 2.0
