"""``python -m tests.simulation [NAME] [--seed N] [--seeds COUNT]``: repeat a seed with its trace, or look for more."""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import TYPE_CHECKING

from tests.simulation.campaign import Tally, run_seeds
from tests.simulation.family import NAMES, RANDOM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.campaign import Outcome

#: On a terminal the bar moves with each seed; in a pipe a line tells of every tenth of them.
_LINES = 10


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("name", nargs="?", choices=NAMES, default=RANDOM)
    parser.add_argument("--seed", type=int, default=0, help="the seed, or the first of many")
    parser.add_argument("--seeds", type=int, default=1, help="how many; the trace is shown when it is one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes to spread them over")
    chosen = parser.parse_args()
    began_s, tally = time.monotonic(), Tally()
    outcomes = run_seeds(chosen.name, range(chosen.seed, chosen.seed + chosen.seeds), chosen.jobs)
    for outcome in _shown(outcomes, chosen.seeds):
        if chosen.seeds == 1:
            print("\n".join(outcome.trace))  # noqa: T201
        if outcome.failure:
            print(outcome.failure, flush=True)  # noqa: T201
        tally.add(outcome)
    took_s = time.monotonic() - began_s
    print(tally.table())  # noqa: T201
    print(f"{tally.failed} of {tally.seeds} seeds failed, {took_s:.0f} s")  # noqa: T201
    return 1 if tally.failed else 0


def _shown(outcomes: Iterator[Outcome], count: int) -> Iterator[Outcome]:
    """The outcomes, and meanwhile how many there are."""
    if count == 1:
        yield from outcomes
    elif sys.stdout.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, transient=True) as progress:
            yield from progress.track(outcomes, total=count, description="seeds")
    else:
        for done, outcome in enumerate(outcomes, start=1):
            yield outcome
            if done * _LINES // count != (done - 1) * _LINES // count:
                print(f"{done} of {count} seeds", flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
