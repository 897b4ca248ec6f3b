"""What is simulated: the flows, how many of what, and what goes wrong.  Data only; the seed decides the rest."""

from __future__ import annotations

from msgspec import Struct

from metronome_worker.settings import TickerSettings, WorkerSettings
from tests.simulation.flows import FlowSpec


class Incident(Struct, frozen=True, kw_only=True):
    """Something that happens at a moment, whoever leads or owns then; ``kind`` is one of those in ``incidents.py``.

    ``seconds``: how long it lasts; ``amount``: how much of it; ``target``: to which replica, or to which flow.
    """

    at_s: float
    kind: str
    seconds: float = 0.0
    amount: float = 0.0
    target: int = 0


class Scenario(Struct, frozen=True, kw_only=True):
    """``flows``: either all of them leave, or none.  ``deploys``: tickers deploy them, too, whenever they start.

    ``life``: a leader or owner is struck within so many of its commands.  ``strikes``: how often each replica is
    struck at the most.  ``pauses``: the share of strikes that stop it for a while instead of killing it.
    ``drain_strikes``: how many processes are struck at the moment when the sources stop.
    ``downtime_s``: the longest time until it is replaced.  ``latest_start_s``: of a replica that starts late.
    ``outages_s``: how long Redis is away, each time.  ``incidents``: what else happens, and when.
    ``clocks_apart_s``: by how much the clocks of two hosts may differ.  ``limit_s``: virtual time it must end within.
    """

    name: str
    flows: tuple[FlowSpec, ...]
    tickers: int = 2
    workers: int = 2
    ticker: TickerSettings = TickerSettings()
    worker: WorkerSettings = WorkerSettings()
    deploys: bool = False
    life: int = 200
    strikes: int = 1_000_000
    pauses: float = 0.25
    drain_strikes: int = 0
    downtime_s: float = 3.0
    latest_start_s: float = 20.0
    outages_s: tuple[float, ...] = ()
    incidents: tuple[Incident, ...] = ()
    clocks_apart_s: float = 7_200.0
    limit_s: float = 3_600.0

    @property
    def has_exit(self) -> bool:
        return all(flow.leaves != "never" for flow in self.flows)


def _leaving(**changes: int) -> tuple[FlowSpec, ...]:
    return (FlowSpec(leaves="event", **changes),)  # type: ignore[arg-type]


#: By name, so that a failing seed can be repeated from the command line.
NAMED = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="ten-thousand", flows=(FlowSpec(ticks=10_000),), tickers=3, workers=0),
        # The delay ends about when a tick is due.
        Scenario(name="late-exit", flows=_leaving(ticks=60, delay_ms=2_995), life=30, strikes=9, pauses=0),
        Scenario(
            name="outage-all", flows=(FlowSpec(ticks=60, catch_up_ms=2_000),), outages_s=(3.0, 0.5, 6.0), strikes=3
        ),
        Scenario(name="outage-latest", flows=(FlowSpec(missed="latest"),), outages_s=(3.0, 0.5, 9.0), strikes=3),
        Scenario(
            name="outage-skip",
            flows=(FlowSpec(missed="skip", interval_ms=900, ticks=80),),
            outages_s=(12.0, 7.0),
            strikes=3,
        ),
        Scenario(name="stopped", flows=_leaving(ticks=150), workers=3, life=40, strikes=12, pauses=1.0, downtime_s=0.1),
        Scenario(name="calm", flows=_leaving(ticks=60), strikes=0),
    )
}
