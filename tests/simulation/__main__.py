"""``python -m tests.simulation NAME [--seed N] [--seeds COUNT]``: repeat one seed with its trace, or look for more."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.simulation.deployment import simulate
from tests.simulation.scenario import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("name", choices=SCENARIOS)
    parser.add_argument("--seed", type=int, default=0, help="the seed, or the first of many")
    parser.add_argument("--seeds", type=int, default=1, help="how many; the trace is shown when it is one")
    chosen = parser.parse_args()
    failed = 0
    for seed in range(chosen.seed, chosen.seed + chosen.seeds):
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            verdict = simulate(chosen.name, seed, Path(folder))
        if chosen.seeds == 1:
            sys.stdout.write("\n".join(verdict.trace) + "\n")
        if verdict.violations:
            failed += 1
            sys.stdout.write(f"{verdict}\n")
        if chosen.seeds == 1 or verdict.violations:
            published = {s.connector: s.published for s in verdict.history.schedules}
            took_s = time.monotonic() - began_s
            sys.stdout.write(
                f"published {published}, {verdict.lives_lost} lives, {verdict.end_reason or 'no end'}, {took_s:.1f} s\n"
            )
    sys.stdout.write(f"{failed} of {chosen.seeds} seeds failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
