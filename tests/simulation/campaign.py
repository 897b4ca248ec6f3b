"""Many seeds, spread over processes, and what they held altogether.  Memory does not grow with their number."""

from __future__ import annotations

import gc
import multiprocessing
import traceback
from collections import Counter
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec import Struct

from tests.simulation.deployment import again, simulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Seeds that one process is handed at a time.
_CHUNK = 8
#: After so many seeds a process is replaced, as what it has made is never all given back.
_LIFETIME = 2_000

#: Events of the log that the table tells of; of others it does not.  What is counted otherwise has blanks in its name.
_ROWS = {
    "leading": "times a ticker led",
    "stage_taken": "times a stage was taken",
    "stage_joined": "times a worker joined a shared stage",
    "source_taken": "times a source was taken",
    "standing_in": "times a worker stood in for a ticker",
    "leading_lost": "times a ticker found that it leads no more",
    "stage_lost": "times an owner found its stage to be another's",
    "handing_over": "times a process was asked to hand over its surplus",
    "session_restarts": "times a process began again",
}


class Outcome(Struct, frozen=True, kw_only=True):
    """Of one seed.  ``failure``: what to show of it, empty when all is well."""

    failure: str
    trace: list[str]
    counts: dict[str, int]


class Tally:
    """What all seeds held."""

    def __init__(self) -> None:
        self.seeds = self.failed = 0
        self.counts: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.failed += bool(outcome.failure)
        self.counts.update(outcome.counts)

    def table(self) -> str:
        """One line for each kind of thing that happened."""
        named = [name for name in sorted(self.counts) if " " in name or name == "flows"]
        rows = [(name, self.counts[name]) for name in named]
        rows += [(shown, self.counts[name]) for name, shown in _ROWS.items()]
        width = max(len(f"{count:,}") for _, count in rows)
        return "\n".join(f"  {count:>{width},}  {name}" for name, count in rows)


def run_seeds(name: str, seeds: range, jobs: int) -> Iterator[Outcome]:
    """The outcome of each seed, in whatever order they come."""
    if len(seeds) == 1 or jobs == 1:
        for seed in seeds:
            yield run_seed(name, seed)
        return
    with multiprocessing.Pool(jobs, _prepare, maxtasksperchild=max(1, _LIFETIME // _CHUNK)) as pool:
        # Handed out piece by piece: a pool would first put all of them on its list.
        waiting = iter(seeds)
        while piece := list(islice(waiting, _CHUNK * jobs * 32)):
            yield from pool.imap_unordered(_run_named, ((name, seed) for seed in piece), chunksize=_CHUNK)


def run_seed(name: str, seed: int) -> Outcome:
    """Simulate one seed in a folder of its own; whatever goes wrong is a failure that says how to repeat it."""
    with TemporaryDirectory() as folder:
        try:
            verdict = simulate(name, seed, Path(folder))
        except Exception:  # noqa: BLE001  it belongs to this seed, and the others go on
            return Outcome(
                failure=f"{name}, seed {seed}:\n{traceback.format_exc()}{again(name, seed)}", trace=[], counts={}
            )
    failure = str(verdict) if verdict.violations else ""
    return Outcome(failure=failure, trace=verdict.trace, counts=dict(verdict.counts))


def counted(outcomes: Iterable[Outcome]) -> Tally:
    tally = Tally()
    for outcome in outcomes:
        tally.add(outcome)
    return tally


def _run_named(named: tuple[str, int]) -> Outcome:
    outcome = run_seed(*named)
    return Outcome(failure=outcome.failure, trace=[], counts=outcome.counts)


def _prepare() -> None:
    """What is imported by now stays: the collector need not look through it again and again."""
    gc.freeze()
