"""Figures: `python -m tests.chaos.histories HISTORIES SEED [WEATHER]`; one history: `… -n SEED NUMBER WEATHER`."""

from __future__ import annotations

import sys
import time

from bridge.fold.policy import Policy
from tests.chaos.histories.figures import judge_many
from tests.chaos.histories.plan import plan_history
from tests.chaos.histories.verdict import judge, tell
from tests.chaos.histories.weather import GOOD, STORM, WRONG_CLOCKS

WEATHERS = {"good": GOOD, "clocks": WRONG_CLOCKS, "storm": STORM}


def main(arguments: list[str]) -> None:
    if arguments[0] == "-n":
        show(int(arguments[1]), int(arguments[2]), arguments[3])
        return

    histories, seed, *names = arguments
    for name in names or WEATHERS:
        began = time.monotonic()
        figures = judge_many(int(seed), int(histories), WEATHERS[name])
        print(f"\n{figures}\n  {time.monotonic() - began:.0f} s")
        for each in figures.judged:
            if each.phantoms:
                print(f"  phantom: history {each.number} {each.upgrades}")


def show(seed: int, number: int, weather: str) -> None:
    """Everything about one history: the truth, what the API shows, what was told and what came of it."""
    history = plan_history(seed, number)
    for upgrade in history.upgrades:
        print(upgrade)
    for channel in history.channels.values():
        for at_s, shown in zip(channel.view_times, channel.views, strict=True):
            print(channel.name, round(at_s, 1), shown)
    print("\n".join(tell(history, seed, number, WEATHERS[weather], Policy(), keeps_log=True).log or ()))
    print(judge(seed, number, WEATHERS[weather], Policy()))


if __name__ == "__main__":
    main(sys.argv[1:])
