"""A simulated deployment: from one integer to a history and what the judge says of it."""

from __future__ import annotations

import asyncio
import sys
from random import Random
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.assembly import Workshop, check_file
from metronome_worker.broker.flows import deploy_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.observe.history import end_reason, judge
from tests.harness.network import Network
from tests.harness.virtual_clock import VirtualClock, fake_client, fake_server, run_virtual, virtual_loop
from tests.simulation.processes import Process, World
from tests.simulation.recorder import record
from tests.simulation.scenario import FLOW, SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from metronome_worker.assembly import CheckedFlow
    from metronome_worker.observe.history import History
    from tests.simulation.scenario import Scenario

KEYS = FlowKeys(FLOW, "sim")

#: How long nothing goes wrong before the end of a run without exit, so that all that is due can be made up for, s.
_CALM_S = 8.0


class Verdict(Struct, frozen=True, kw_only=True):
    """``lives_lost``: how many processes ended before the run did."""

    seed: int
    scenario: Scenario
    history: History
    violations: list[str]
    trace: list[str]
    lives_lost: int

    @property
    def end_reason(self) -> str:
        return end_reason(self.history)

    def __str__(self) -> str:
        again = f"{sys.executable} -m tests.simulation {self.scenario.name} --seed {self.seed}"
        return "\n".join((f"{self.scenario.name}, seed {self.seed}:", *self.violations, f"again: {again}"))


def simulate(name: str, seed: int, folder: Path) -> Verdict:
    """Run a scenario by name; everything that happens follows from ``seed``.  ``folder`` is where its files go."""
    folder.mkdir(parents=True, exist_ok=True)
    scenario = SCENARIOS[name]
    flow = _checked(scenario, folder)
    return run_virtual(lambda: _Simulation(scenario, seed, folder, flow).run())


def _checked(scenario: Scenario, folder: Path) -> CheckedFlow:
    path = folder / "flow.troy"
    path.write_text(scenario.flow_text)
    checked = check_file(path, ())
    assert not checked.has_errors, [diagnostic.message for diagnostic in checked.diagnostics]
    (flow,) = checked.flows
    return flow


class _Simulation:
    def __init__(self, scenario: Scenario, seed: int, folder: Path, flow: CheckedFlow) -> None:
        self._scenario, self._seed, self._folder, self._flow = scenario, seed, folder, flow
        self._random = Random(seed)
        self._codes: list[int] = []
        self._lives_lost = 0
        self._failures: list[str] = []

    async def run(self) -> Verdict:
        with fake_server(VirtualClock(virtual_loop())) as server:
            witness = fake_client(server)
            world = World(
                scenario=self._scenario,
                server=server,
                network=Network(Random(self._random.getrandbits(64))),
                random=self._random,
                workshop=Workshop(),
                folder=self._folder,
                calm=asyncio.Event(),
                trace=[],
            )
            await deploy_flow(witness, KEYS, self._flow.digest, self._flow.bundle, layout_of(self._flow.plan))
            try:
                async with asyncio.timeout(self._scenario.limit_s):
                    await self._run_replicas(world, witness)
            except TimeoutError:
                self._failures.append(f"did not end: within {self._scenario.limit_s} virtual seconds")
            history = await record(witness, KEYS, self._flow.plan, self._folder, tuple(self._codes))
            await witness.aclose()
        return Verdict(
            seed=self._seed,
            scenario=self._scenario,
            history=history,
            violations=self._failures + judge(history),
            trace=world.trace,
            lives_lost=self._lives_lost,
        )

    async def _run_replicas(self, world: World, witness: Any) -> None:
        roles = ["ticker"] * self._scenario.tickers + ["worker"] * self._scenario.workers
        outages = asyncio.create_task(self._outages(world))
        replicas = {asyncio.create_task(self._replica(world, role, f"{role}{i}")) for i, role in enumerate(roles)}
        try:
            if self._scenario.has_exit:
                await asyncio.wait(replicas)
            else:
                await self._until_published(world, witness)
        finally:
            for task in (outages, *replicas):
                task.cancel()
            await asyncio.wait([outages, *replicas])

    async def _until_published(self, world: World, witness: Any) -> None:
        while int(await witness.hget(KEYS.schedule("fast"), "published")) < self._scenario.ticks:  # noqa: ASYNC110
            await asyncio.sleep(1)
        world.calm.set()
        for line in world.network.lines:
            line.disarm()
        await asyncio.sleep(_CALM_S)

    async def _replica(self, world: World, role: str, name: str) -> None:
        """One place in the deployment: whoever dies there is replaced."""
        strikes = self._scenario.strikes
        await asyncio.sleep(self._random.random() * self._random.choice((0.01, 1, 20)))
        while True:
            process = Process(world, role, name, strikes)
            world.note(name, "starts")
            try:
                code = await process.run()
            except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
                self._failures.append(f"process failed: {name} with {error!r}")
                world.note(name, "failed", error=repr(error))
                return
            world.note(name, "ended", code=code)
            strikes = process.strikes_left
            if code is not None:
                self._codes.append(code)
                return
            self._lives_lost += 1
            await asyncio.sleep(self._random.random() * (0.5 if world.calm.is_set() else self._scenario.downtime_s))

    async def _outages(self, world: World) -> None:
        for seconds in self._scenario.outages_s:
            await asyncio.sleep(self._random.uniform(0.5, 10))
            world.note("network", "cut", seconds=seconds)
            world.network.cut(seconds)
            await asyncio.sleep(seconds)
