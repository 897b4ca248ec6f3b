"""Random schedules: every seed draws a deployment of its own, and what happens to it.  Pure.

They are short, as a bug that needs one fault more is found by another seed sooner than by a longer run: some dozen
ticks in a few virtual seconds, a handful of faults.  Everything is drawn apart from everything else, so that a thousand
seeds hold combinations that nobody has thought of.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from metronome_worker.settings import TickerSettings, WorkerSettings
from tests.simulation.flows import FlowSpec
from tests.simulation.scenario import NAMED, Incident, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

RANDOM = "random"

#: All that can be simulated.
NAMES = (RANDOM, *NAMED)

_HOUR_S = 3_600.0
#: A stream is trimmed by whole nodes of so many entries: fewer are never trimmed.
_NODE = 100

#: How much of an incident, if that means anything for its kind.
_AMOUNTS: dict[str, Callable[[Random], float]] = {
    "slow": lambda random: random.choice((0.02, 0.1, 0.4, 0.9)),
    "rollback": lambda random: random.choice((0.05, 0.3, 1.0)),
    "wall clock": lambda random: random.choice((-_HOUR_S, _HOUR_S)),
    "server clock": lambda random: random.choice((-1.5, -0.2, 0.7, 6.0, _HOUR_S)),
    "deploy": lambda random: random.randrange(3),
}
#: The longest that an incident lasts, if it does, seconds.
_LONGEST_S = {"cut": 2.0, "slow": 3.0, "hold": 2.0, "restart": 1.5, "rollback": 1.5, "partition": 2.0, "stop": 3.0}
_PAUSED_S = 1.0

#: What happens to one process counts for more: there are many of them.
_KINDS = ("kill", "kill", "stop", "stop", "terminate", "partition", "wall clock", "wall clock")
_SERVER_KINDS = ("cut", "slow", "hold", "restart", "rollback", "server clock")
_OPERATOR_KINDS = ("pause", "deploy")


def scenario_of(name: str, seed: int) -> Scenario:
    """The scenario of that name; a random one is another for each seed."""
    return NAMED[name] if name != RANDOM else draw(Random(f"schedule {seed}"))


def draw(random: Random) -> Scenario:
    flows = _flows(random)
    is_trimmed = any(flow.ticks > _NODE for flow in flows)
    length_s = max(flow.ticks * flow.interval_ms for flow in flows) / 1000
    return Scenario(
        name=RANDOM,
        flows=flows,
        tickers=random.choice((1, 2, 2, 3)),
        workers=random.choice((1, 2, 2, 3)),
        ticker=TickerSettings(
            lease_ms=random.choice((1_500, 500, 500)),
            drain_ms=random.choice((30_000, 30_000, 1_000)),
        ),
        worker=_worker(random, is_trimmed=is_trimmed),
        deploys=random.random() < 0.3,
        life=random.choice((15, 40)),
        strikes=random.choice((0, 1, 2, 4)),
        pauses=random.choice((0.0, 0.3, 1.0)),
        drain_strikes=random.choice((0, 0, 1, 3)),
        downtime_s=random.choice((0.1, 0.5, 1.5)),
        latest_start_s=length_s * random.choice((0.5, 1.1)),
        incidents=_incidents(random, length_s),
        limit_s=100.0,
    )


def _flows(random: Random) -> tuple[FlowSpec, ...]:
    leaves = random.random() < 0.8
    is_long = random.random() < 0.01
    count = random.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
    return tuple(
        FlowSpec(
            name=f"flow{number}",
            interval_ms=20 if is_long else random.choice((50, 100, 150)) if leaves else 200,
            missed=random.choice(("all", "all", "latest", "skip")),
            catch_up_ms=random.choice((500, 5_000)),
            ticks=2 * _NODE if is_long else random.choice((8, 14)) if count == 1 else 7,
            leaves=random.choice(("event", "event", "request")) if leaves else "never",
            code=3 + number,
            delay_ms=random.choice((0, 0, 95, 350)),
            is_graceful=random.random() < 0.85,
            slow=random.choice(("none", "apart", "apart", "joined")),
            slowness=random.choice((2, 5)),
            failing=random.choice(("", "", "file", "null")),
            lines=random.choice((0, 0, 0, 30)),
        )
        for number in range(count)
    )


def _worker(random: Random, *, is_trimmed: bool) -> WorkerSettings:
    return WorkerSettings(
        lease_ms=random.choice((1_500, 500, 500)),
        batch=random.choice((2_000, 2_000, 1, 4)),
        keep=5 if is_trimmed else 10_000,
        keep_ms=500 if is_trimmed else 3_600_000,
        trim_every_ms=300 if is_trimmed else 1_000,
    )


def _incidents(random: Random, length_s: float) -> tuple[Incident, ...]:
    drawn = [random.choice(_KINDS) for _ in range(random.choice((0, 1, 2, 3)))]
    drawn += [random.choice(_SERVER_KINDS) for _ in range(random.choice((0, 1, 1, 2)))]
    drawn += [random.choice(_OPERATOR_KINDS) for _ in range(random.choice((0, 0, 0, 1, 2)))]
    return tuple(
        Incident(
            at_s=random.uniform(0.0, 1.2) * length_s,
            kind=kind,
            seconds=random.random() * _LONGEST_S.get(kind, _PAUSED_S),
            amount=_AMOUNTS[kind](random) if kind in _AMOUNTS else 0.0,
            target=random.randrange(12),
        )
        for kind in drawn
    )
