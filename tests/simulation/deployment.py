"""A simulated deployment: from one integer to histories and what the judge says of them."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from metronome_worker.broker.flows import Status, deploy_flow, load_flow
from metronome_worker.broker.ticks import server_us
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.observe.history import end_reason
from tests.harness.network import Network
from tests.harness.virtual_clock import VirtualClock, fake_client, fake_server, run_virtual, virtual_loop
from tests.harness.wall_clock import simulated_wall_clocks
from tests.simulation.family import scenario_of
from tests.simulation.incidents import happen
from tests.simulation.judgement import CODES, findings, recorded
from tests.simulation.processes import Replica
from tests.simulation.world import World, keys_of

if TYPE_CHECKING:
    from pathlib import Path

    from metronome_worker.observe.history import History
    from tests.simulation.scenario import Scenario
    from tests.simulation.world import Deployed

#: How long nothing goes wrong before the end of a run without exit, so that all that is due can be made up for, s.
_CALM_S = 4.5
#: How long a process that took part may need to leave when all flows have ended.
_LEAVE_S = 20.0


class Verdict(Struct, frozen=True, kw_only=True):
    """``histories``: by flow.  ``counts``: how often what happened."""

    seed: int
    scenario: Scenario
    histories: dict[str, History]
    violations: list[str]
    trace: list[str]
    counts: Counter[str]
    exit_codes: tuple[int, ...]

    @property
    def history(self) -> History:
        """Of the first flow."""
        return next(iter(self.histories.values()))

    @property
    def end_reason(self) -> str:
        return end_reason(self.history)

    def __str__(self) -> str:
        name, seed = self.scenario.name, self.seed
        return "\n".join((f"{name}, seed {seed}:", *self.violations, again(name, seed)))


def again(name: str, seed: int) -> str:
    """How to repeat a seed, with its trace."""
    return f"again: {sys.executable} -m tests.simulation {name} --seed {seed}"


def simulate(name: str, seed: int, folder: Path) -> Verdict:
    """Run a scenario by name; everything that happens follows from ``seed``.  ``folder`` is where its files go."""
    folder.mkdir(parents=True, exist_ok=True)
    with simulated_wall_clocks():
        return run_virtual(lambda: _Simulation(scenario_of(name, seed), seed, folder).run())


class _Simulation:
    def __init__(self, scenario: Scenario, seed: int, folder: Path) -> None:
        self._scenario, self._seed, self._folder = scenario, seed, folder
        self._codes: list[int] = []
        self._failures: list[str] = []

    async def run(self) -> Verdict:
        # What the dead leave unfinished is nobody's to hear of.
        virtual_loop().set_exception_handler(lambda _loop, _context: None)
        random = Random(self._seed)
        clock = VirtualClock(virtual_loop())
        with fake_server(clock) as server:
            witness = fake_client(server)
            network = Network(Random(random.getrandbits(64)))
            world = World(self._scenario, random, server, clock, network, witness, self._folder)
            for flow in world.flows:
                await _set_up(world, flow)
            try:
                async with asyncio.timeout(self._scenario.limit_s):
                    await self._run_replicas(world)
            except TimeoutError:
                self._failures.append(f"did not end: within {self._scenario.limit_s} virtual seconds")
            await world.settle()
            recordings = [await recorded(world, flow.spec.name, tuple(self._codes)) for flow in world.flows]
            violations = self._failures + findings(world, recordings, tuple(self._codes))
            await witness.aclose()
        world.count("virtual seconds", round(virtual_loop().time()))
        return Verdict(
            seed=self._seed,
            scenario=self._scenario,
            histories={recording.flow: recording.history for recording in recordings},
            violations=violations,
            trace=world.trace,
            counts=world.counts,
            exit_codes=tuple(self._codes),
        )

    async def _run_replicas(self, world: World) -> None:
        roles = ["ticker"] * self._scenario.tickers + ["worker"] * self._scenario.workers
        world.replicas += [Replica(world, role, f"{role}{i}") for i, role in enumerate(roles)]
        others = [asyncio.create_task(_outages(world))]
        others += [asyncio.create_task(happen(world, incident)) for incident in self._scenario.incidents]
        others += [asyncio.create_task(_request(world, flow)) for flow in world.flows if flow.spec.leaves == "request"]
        lives = {asyncio.create_task(self._live(world, replica)) for replica in world.replicas}
        try:
            if self._scenario.has_exit:
                await self._until_left(world, lives)
            else:
                await _until_published(world)
        finally:
            for task in (*others, *lives):
                task.cancel()
            await asyncio.wait([*others, *lives])
            self._failures += [f"incident failed: {task.exception()!r}" for task in others if _has_failed(task)]

    async def _live(self, world: World, replica: Replica) -> None:
        try:
            code = await replica.live()
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            self._failures.append(f"process failed: {replica.name} with {error!r}")
            world.note(replica.name, "failed", error=repr(error))
            return
        if code is not None:
            self._codes.append(code)
            world.count(CODES)

    async def _until_left(self, world: World, lives: set[asyncio.Task[None]]) -> None:
        """Until all have left; who came when all was over waits for another run, and need not."""
        everybody = asyncio.create_task(asyncio.wait(lives))
        while not everybody.done() and not await _have_ended(world):
            await asyncio.wait({everybody}, timeout=0.5)
        ended_s = virtual_loop().time() - 1.0
        await asyncio.wait({everybody}, timeout=_LEAVE_S)
        late = [r for r in world.replicas if r.process is not None and r.started_s < ended_s]
        self._failures += [f"did not leave: {r.name}, {_LEAVE_S} s after the end" for r in late]
        everybody.cancel()


async def _set_up(world: World, flow: Deployed) -> None:
    spec, checked = flow.spec, flow.checked
    if spec.lines:
        (world.folder / spec.input_name).write_text("".join(f"{n}\n" for n in range(spec.lines)))
    await deploy_flow(world.witness, keys_of(spec.name), checked.digest, checked.bundle, layout_of(checked.plan))


async def _have_ended(world: World) -> bool:
    records = [await load_flow(world.witness, keys_of(flow.spec.name)) for flow in world.flows]
    return all(record is not None and record.status is Status.ENDED for record in records)


async def _published(world: World, flow: Deployed) -> int:
    return int(await world.witness.hget(keys_of(flow.spec.name).schedule("fast"), "published") or 0)


async def _until_published(world: World) -> None:
    """Until every flow has published what it should, and then for a while in which nothing goes wrong."""
    for flow in world.flows:
        while await _published(world, flow) < flow.spec.ticks:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
    world.calm.set()
    world.network.calm()
    for replica in world.replicas:
        if replica.process is not None:  # whoever was stopped has that long from when it goes on
            await replica.process.line.while_paused()
    await asyncio.sleep(_CALM_S)
    world.over_ms = await server_us(world.witness) // 1000


async def _request(world: World, flow: Deployed) -> None:
    """An operator asks a flow to leave when it has published enough, and asks again as long as nobody has heard."""
    spec, keys = flow.spec, keys_of(flow.spec.name)
    while await _published(world, flow) < spec.ticks:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    fields: dict[Any, Any] = {"exit": spec.code, "delay": spec.delay_ms, "graceful": str(spec.is_graceful).lower()}
    while not await _have_ended(world):
        record = await load_flow(world.witness, keys)
        assert record is not None
        if not await world.witness.xrange(keys.exit, min=f"({record.exit_from}"):
            world.note("incident", "asked to leave", flow=spec.name)
            await world.witness.xadd(keys.exit, fields)
        await asyncio.sleep(0.5)


async def _outages(world: World) -> None:
    for seconds in world.scenario.outages_s:
        await asyncio.sleep(world.random.uniform(0.5, 10))
        world.note("network", "cut", seconds=seconds)
        world.network.cut(seconds)
        await asyncio.sleep(seconds)


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is not None
