"""What goes wrong, or is done, at a moment of its own: each kind is a function that makes it happen."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING

from msgspec.structs import replace

from metronome_worker.broker.flows import Status, deploy_flow, load_flow
from metronome_worker.broker.scripts import run_script
from metronome_worker.clock import NS_PER_S
from metronome_worker.connectors.schedules import layout_of, ticked_sources
from tests.simulation.flows import CHANGES
from tests.simulation.world import keys_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.simulation.processes import Process
    from tests.simulation.scenario import Incident
    from tests.simulation.world import World

    Incidence = Callable[[World, Incident], Awaitable[None]]


#: How long a flow may still be paused when the server has come back.
_PAUSED_S = 1.0


async def happen(world: World, incident: Incident) -> None:
    """Wait for its moment, and make it happen, unless nothing goes wrong any more by then."""
    # A moment before, for the one that must know what was.
    await asyncio.sleep(max(0.0, incident.at_s - (incident.amount if incident.kind == "rollback" else 0.0)))
    if not world.calm.is_set():
        world.note("incident", incident.kind, seconds=round(incident.seconds, 3), amount=round(incident.amount, 3))
        await KINDS[incident.kind](world, incident)


async def _cut(world: World, incident: Incident) -> None:
    world.network.cut(incident.seconds)
    world.count("cuts of all connections")


async def _slow(world: World, incident: Incident) -> None:
    world.network.slow(incident.amount, incident.seconds)
    world.count("delays of all connections")


async def _hold(world: World, incident: Incident) -> None:
    world.network.hold(incident.seconds)
    world.count("Redis stopped and continued")


async def _restart(world: World, incident: Incident) -> None:
    """Nothing is lost but connections, scripts, and who listens."""
    world.network.restart(incident.seconds)
    world.server.script_cache.clear()
    world.server.subscribers.clear()
    world.count("Redis restarted")


async def _rollback(world: World, incident: Incident) -> None:
    """The server comes back with what it held some time before, as after a failover; not behind the end of a flow."""
    before = {index: deepcopy(db._dict) for index, db in world.server.dbs.items()}
    await asyncio.sleep(incident.amount)
    if world.calm.is_set():
        return
    await _restart(world, incident)
    for flow in world.flows:
        record = await load_flow(world.witness, keys_of(flow.spec.name))
        if record is None or record.status is Status.ENDED:
            return
    for index, content in before.items():
        db = world.server.dbs[index]
        db._dict, db._expiry_heap = content, []  # what has a TTL is still found out to be over when it is looked at
    world.count("Redis rolled back")
    for index in range(len(world.flows)):  # what an operator has resumed may be paused again
        world.later(incident.seconds + _PAUSED_S, _resume, replace(incident, target=index))


async def _partition(world: World, incident: Incident) -> None:
    if process := _process(world, incident):
        process.line.cut(incident.seconds)
        world.count("one host cut off")


async def _kill(world: World, incident: Incident) -> None:
    if process := _process(world, incident):
        process.line.crash()


async def _stop(world: World, incident: Incident) -> None:
    if process := _process(world, incident):
        process.stop(incident.seconds)


async def _terminate(world: World, incident: Incident) -> None:
    if process := _process(world, incident):
        process.terminate()


async def _wall_clock(world: World, incident: Incident) -> None:
    """Of one host, and of its neighbour the other way."""
    for index, direction in ((incident.target, 1), (incident.target + 1, -1)):
        world.replicas[index % len(world.replicas)].wall.step(direction * round(incident.amount * NS_PER_S))
        world.count("wall clocks moved")


async def _server_clock(world: World, incident: Incident) -> None:
    world.server_clock.step(round(incident.amount * NS_PER_S))
    world.count("Redis's clock moved")


async def _pause(world: World, incident: Incident) -> None:
    """By an operator, who reaches the server whatever happens; and resumed after a while."""
    flow = world.flows[incident.target % len(world.flows)]
    keys = keys_of(flow.spec.name)
    if await run_script(world.witness, "pause_flow", [keys.flow], []):
        world.count("flows paused")
        world.later(incident.seconds, _resume, incident)


async def _resume(world: World, incident: Incident) -> None:
    flow = world.flows[incident.target % len(world.flows)]
    keys = keys_of(flow.spec.name)
    record = await load_flow(world.witness, keys)
    assert record is not None
    schedules = [keys.schedule(source.alias) for source in ticked_sources(world.workshop.plan_of(record.bundle))]
    await run_script(world.witness, "resume_flow", [keys.flow, *schedules], [keys.news])
    world.note("incident", "resumed", flow=flow.spec.name)


async def _deploy(world: World, incident: Incident) -> None:
    flow = world.flows[incident.target % len(world.flows)]
    record = await load_flow(world.witness, keys_of(flow.spec.name))
    if record is None or record.status is not Status.RUNNING:
        return  # it would be a new run, which is not what is simulated
    change = CHANGES[1 + int(incident.amount) % (len(CHANGES) - 1)]
    checked = world.check(flow.spec, change)
    done = await deploy_flow(
        world.witness, keys_of(flow.spec.name), checked.digest, checked.bundle, layout_of(checked.plan), grace_ms=30_000
    )
    world.note("incident", "deployed", change=change, outcome=done.outcome)
    world.count("revisions deployed under way", done.outcome == "changed")


def _process(world: World, incident: Incident) -> Process | None:
    process = world.replicas[incident.target % len(world.replicas)].process
    return process if process is not None and not process.line.is_over else None


KINDS: dict[str, Incidence] = {
    "cut": _cut,
    "slow": _slow,
    "hold": _hold,
    "restart": _restart,
    "rollback": _rollback,
    "partition": _partition,
    "kill": _kill,
    "stop": _stop,
    "terminate": _terminate,
    "wall clock": _wall_clock,
    "server clock": _server_clock,
    "pause": _pause,
    "deploy": _deploy,
}
