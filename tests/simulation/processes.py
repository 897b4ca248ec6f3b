"""One simulated process: a role on a host of its own, and what happens to it."""

from __future__ import annotations

import asyncio
import io
from random import Random
from typing import TYPE_CHECKING, Self, cast

from metronome_worker.broker.connection import Patience
from metronome_worker.cli.role_process import take_part
from metronome_worker.clock import NS_PER_S
from metronome_worker.host import Host
from tests.harness.network import HostClock, Line, line_client
from tests.harness.virtual_clock import virtual_loop
from tests.harness.wall_clock import WallClock
from tests.simulation.world import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from tests.simulation.world import World

#: What a process says when it comes to lead or to own something; from then on it may be struck.
_TAKEN = ("leading", "standing_in", "stage_taken", "source_taken")


class _Log:
    """Takes the place of structlog: into the trace, and to whoever waits for an event."""

    def __init__(self, world: World, name: str, hear: Callable[[str], None]) -> None:
        self._world, self._name, self._hear = world, name, hear

    def bind(self, **_: object) -> Self:
        return self

    def debug(self, event: str, **fields: object) -> None:
        pass

    def info(self, event: str, **fields: object) -> None:
        self._world.note(self._name, event, **fields)
        self._hear(event)

    warning = error = info


class Replica:
    """One place in the deployment, on a host of its own: whoever dies there is replaced."""

    def __init__(self, world: World, role: str, name: str) -> None:
        self.world, self.role, self.name = world, role, name
        self.wall = WallClock(virtual_loop(), round(world.random.uniform(-1, 1) * NS_PER_S))
        self.strikes_left = world.scenario.strikes
        #: What runs there now, and since when, virtual seconds.
        self.process: Process | None = None
        self.started_s = 0.0

    async def live(self) -> int | None:
        """Run one process after the other until one ends with a code; None when it was told to stay away."""
        world, random = self.world, self.world.random
        await asyncio.sleep(random.random() * random.choice((0.01, 1, world.scenario.latest_start_s)))
        while True:
            world.note(self.name, "starts")
            self.process, self.started_s = Process(self), virtual_loop().time()
            code = await self.process.run()
            world.note(self.name, "ended", code=code)
            self.process = None
            if code is not None:
                return code
            world.count("lives lost")
            await asyncio.sleep(random.random() * (0.5 if world.calm.is_set() else world.scenario.downtime_s))

    def strike_now(self) -> None:
        if self.process is not None:
            self.process.strike_now()


class Process:
    """From its start to its end, whatever that is."""

    def __init__(self, replica: Replica) -> None:
        self._replica, self._world = replica, replica.world
        self._random = Random(self._world.random.getrandbits(64))
        self.line = Line(self._random, self._world.network)
        self.line.on_resume = self._strike  # whoever was not deposed meanwhile goes on, and not for ever
        self._stopping = asyncio.Event()

    async def run(self) -> int | None:
        """The code that the process ends with; None when it was killed or told to leave.  Raises what is a bug."""
        host, role = self._host(), self._replica.role
        flows = (
            [flow.checked for flow in self._world.flows] if self._world.scenario.deploys and role == "ticker" else []
        )
        part = take_part(host, role, flows, self._stopping)
        work = asyncio.create_task(part, context=self._replica.wall.context())
        ends = asyncio.create_task(self.line.over.wait())
        try:
            await asyncio.wait({work, ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            is_killed = self.line.is_over
            if is_killed or not work.done():
                work.cancel()
            ends.cancel()
            await asyncio.gather(work, return_exceptions=True)
            self.line.crash()
            await host.client.aclose()
        return None if is_killed or work.cancelled() else work.result()

    def stop(self, seconds: float) -> None:
        """As SIGSTOP, and SIGCONT after so long."""
        self._world.count("stopped and continued")
        self.line.pause(seconds)

    def terminate(self) -> None:
        """As SIGTERM."""
        self._world.note(self._replica.name, "told to stop")
        self._stopping.set()

    def strike_now(self) -> None:
        if not (self.line.is_over or self._world.calm.is_set()):
            kind = self._random.random()
            if kind < 0.4:
                self.stop(self._pause_s())
            else:
                (self.line.crash if kind < 0.8 else self.terminate)()

    def _pause_s(self) -> float:
        """Up to some terms of a lease."""
        settings = self._world.scenario.ticker if self._replica.role == "ticker" else self._world.scenario.worker
        return self._random.uniform(0.1, 3.3 * settings.lease_ms / 1000)

    def _host(self) -> Host:
        # Nobody's clock shows what the server's does, nor what another's does; none is below 0, as it counts from boot.
        world = self._world
        up_ns = int(self._random.random() * world.scenario.clocks_apart_s * NS_PER_S)
        clock = HostClock(virtual_loop(), self.line, up_ns)
        log = cast("FilteringBoundLogger", _Log(world, self._replica.name, self._hear))
        return Host(
            client=line_client(world.server, self.line),
            namespace=NAMESPACE,
            clock=clock,
            random=self._random,
            log=log,
            patience=Patience("redis://simulated:6379", clock, self._random, log),
            workshop=world.workshop,
            folder=world.folder,
            stdin=io.BytesIO(),
            stdout=io.BytesIO(),
            stderr=io.BytesIO(),
            ticker=world.scenario.ticker,
            worker=world.scenario.worker,
        )

    def _hear(self, event: str) -> None:
        self._world.hear(event)
        if event in _TAKEN:
            self._strike()

    def _strike(self) -> None:
        """Decide what happens to it now that it leads or owns something, and when."""
        replica, world, random = self._replica, self._world, self._random
        if replica.strikes_left == 0 or self.line.is_over or world.calm.is_set():
            return
        replica.strikes_left -= 1
        scenario = world.scenario
        # Many of them early: taking over is where most can go wrong.
        commands = random.randint(1, random.choice((2, 12, scenario.life, scenario.life)))
        if random.random() < scenario.pauses:
            world.count("stopped and continued")
            self.line.pause_after(commands, self._pause_s())
        elif (kind := random.random()) < 0.7:
            self.line.die_after(commands)
        else:
            end = self.line.crash if kind < 0.85 else self.terminate
            virtual_loop().call_later(random.uniform(0, commands * 0.1), self._unless_calm, end)

    def _unless_calm(self, strike: Callable[[], None]) -> None:
        if not self._world.calm.is_set():
            strike()
