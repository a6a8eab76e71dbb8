"""A profile tells the stacks that faulthandler wrote, each as often as it was seen."""

from __future__ import annotations

from tests.benchmarks.gateway.sampler import parse

DUMP = """\
Stack (most recent call first):
  File "/home/x/consumer/slices.py", line 67 in _slice
  File "/home/x/consumer/gateway.py", line 220 in _receive
"""
OTHER = """\
Current thread 0x00007f2a (most recent call first):
  File "/home/x/consumer/gateway.py", line 221 in _receive
"""


def test_equal_stacks_are_counted_together_outermost_first() -> None:
    stacks = parse((DUMP + OTHER + DUMP).splitlines())

    assert stacks == {
        ("consumer/gateway.py _receive:220", "consumer/slices.py _slice:67"): 2,
        ("consumer/gateway.py _receive:221",): 1,
    }


def test_a_line_of_code_that_is_not_known_does_not_spoil_a_stack() -> None:
    stacks = parse(DUMP.replace("line 67", "line ???").splitlines())

    assert list(stacks) == [("consumer/gateway.py _receive:220", "consumer/slices.py _slice:???")]


def test_a_look_at_a_thread_outside_of_python_is_not_a_stack() -> None:
    assert not parse(["Stack (most recent call first):", "  <no Python frame>"])
