"""How the sandbox's programs end: Ctrl-C, SIGTERM, a closed terminal or the end of make stop them in good order, and
what was expected to go wrong is said in one sentence.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from typing import Any

from deploy.sandbox.brokers import ChildFailed, JarsNotFetched, MissingTools
from deploy.sandbox.brokers.parent import tie_to_parent
from deploy.sandbox.supervisor import AlreadyRunning

_EXPECTED = (AlreadyRunning, ChildFailed, JarsNotFetched, MissingTools)
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_until_interrupted(name: str, program: Coroutine[Any, Any, int]) -> tuple[int, signal.Signals | None]:
    """Run `program` in an event loop of its own; return its exit code and the signal that ended it early, if one did.

    The first signal cancels it, so that it cleans up; later ones change nothing. When make started us and ends, we
    are told by SIGTERM; whoever starts us without make may go away. An expected error is printed and is exit code 1.
    """
    if "MAKELEVEL" in os.environ:
        tie_to_parent(signal.SIGTERM)
    received: list[signal.Signals] = []

    async def main() -> int:
        task = asyncio.ensure_future(program)

        def interrupt(number: signal.Signals) -> None:
            received.append(number)
            if len(received) == 1:
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # nohup asked for that
            loop.add_signal_handler(number, interrupt, number)
        return await task

    try:
        return asyncio.run(main()), None
    except asyncio.CancelledError:
        return 128 + received[0], received[0]
    except Exception as error:
        leaves = list(_leaves(error))
        if not all(isinstance(leaf, _EXPECTED) for leaf in leaves):
            raise
        for leaf in leaves:
            print(f"{name}: {leaf}", file=sys.stderr)
        return 1, None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """The single errors of a group, in order."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
