"""What is simulated: the flow, how many of what, and what goes wrong.  Data only; the seed decides the rest."""

from __future__ import annotations

from msgspec import Struct

FLOW = "main"


class Scenario(Struct, frozen=True, kw_only=True):
    """``ticks``: of the first schedule, after which the run is over; with ``has_exit`` an event ends it.

    ``life``: a leader or owner is struck within so many of its commands.  ``strikes``: how often each replica is
    struck at the most.  ``pauses``: the share of strikes that stop it for a while instead of killing it.
    ``downtime_s``: the longest time until it is replaced.  ``outages_s``: how long Redis is away, each time.
    ``clocks_apart_s``: by how much the clocks of two hosts may differ.  ``limit_s``: virtual time it must end within.
    """

    name: str
    tickers: int = 3
    workers: int = 0
    interval_ms: int = 100
    missed: str = "all"
    catch_up_ms: int = 60_000
    ticks: int = 300
    has_exit: bool = False
    exit_delay_ms: int = 0
    life: int = 200
    strikes: int = 1_000_000
    pauses: float = 0.25
    downtime_s: float = 3.0
    outages_s: tuple[float, ...] = ()
    clocks_apart_s: float = 7_200.0
    limit_s: float = 3_600.0

    @property
    def flow_text(self) -> str:
        """Two schedules, two stages, a file each; in the first stage an event may end it all."""
        config = f'"missed": "{self.missed}", "catch_up": {self.catch_up_ms}'
        end = self.ticks - 1 if self.has_exit else -1
        return f"""
define flow {FLOW}
flow
  use tremor::pipelines;

  define connector fast from metronome with config = {{"interval": {self.interval_ms}, {config}}} end;
  define connector slow from metronome with config = {{"interval": {self.interval_ms * 7}, {config}}} end;
  define connector fast_file from file
  with codec = "json", postprocessors = ["separate"], config = {{"path": "fast.txt", "mode": "append"}} end;
  define connector slow_file from file
  with codec = "json", postprocessors = ["separate"], config = {{"path": "slow.txt", "mode": "truncate"}} end;
  define connector leave from exit;

  define pipeline ids pipeline select event.id from in into out; end;
  define pipeline last
  pipeline
    select {{"exit": 7, "delay": {self.exit_delay_ms}}} from in where event.id == {end} into out;
  end;

  create connector fast;
  create connector slow;
  create connector fast_file;
  create connector slow_file;
  create connector leave;
  create pipeline ids;
  create pipeline slow_ids from ids;
  create pipeline last;

  connect /connector/fast to /pipeline/ids;
  connect /pipeline/ids to /connector/fast_file;
  connect /connector/fast to /pipeline/last;
  connect /pipeline/last to /connector/leave;
  connect /connector/slow to /pipeline/slow_ids;
  connect /pipeline/slow_ids to /connector/slow_file;
end;

deploy flow {FLOW};
"""


#: By name, so that a failing seed can be repeated from the command line.
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(name="ten-thousand", ticks=10_000),
        Scenario(name="exit", tickers=2, workers=3, ticks=200, has_exit=True, life=60, strikes=5),
        # The delay ends about when a tick is due.
        Scenario(
            name="late-exit",
            tickers=2,
            workers=2,
            ticks=60,
            has_exit=True,
            exit_delay_ms=2_995,
            life=30,
            strikes=9,
            pauses=0,
        ),
        Scenario(name="outage-all", tickers=2, workers=2, catch_up_ms=2_000, outages_s=(3.0, 0.5, 6.0), strikes=3),
        Scenario(name="outage-latest", tickers=2, workers=2, missed="latest", outages_s=(3.0, 0.5, 9.0), strikes=3),
        Scenario(
            name="outage-skip",
            tickers=2,
            workers=2,
            missed="skip",
            interval_ms=900,
            ticks=80,
            outages_s=(12.0, 7.0),
            strikes=3,
        ),
        Scenario(
            name="outage-exit", tickers=2, workers=2, has_exit=True, catch_up_ms=2_000, outages_s=(3.0, 5.0), strikes=3
        ),
        Scenario(
            name="stopped",
            tickers=2,
            workers=3,
            has_exit=True,
            ticks=150,
            life=40,
            strikes=12,
            pauses=1.0,
            downtime_s=0.1,
        ),
        Scenario(name="calm", tickers=2, workers=2, has_exit=True, strikes=0),
    )
}
