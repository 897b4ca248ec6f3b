"""One simulated process: a role on a host of its own, and what happens to it."""

from __future__ import annotations

import asyncio
import io
from random import Random
from typing import TYPE_CHECKING, Self, cast

from msgspec import Struct

from metronome_worker.broker.connection import Patience
from metronome_worker.clock import NS_PER_S
from metronome_worker.host import Host
from metronome_worker.ticker.role import run_ticker, stand_in
from metronome_worker.worker.role import run_worker
from tests.harness.network import HostClock, Line, Network, line_client
from tests.harness.virtual_clock import virtual_loop
from tests.simulation.scenario import FLOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakeredis import FakeServer
    from structlog.typing import FilteringBoundLogger

    from metronome_worker.assembly import Workshop
    from tests.simulation.scenario import Scenario

#: What a process says when it comes to lead or to own something; from then on it may be struck.
_TAKEN = ("leading", "stage_taken")


class World(Struct, frozen=True, kw_only=True):
    """What all processes of one simulation share.

    ``calm``: set when nothing goes wrong any more.  ``trace``: what they logged, with the time in virtual ms.
    """

    scenario: Scenario
    server: FakeServer
    network: Network
    random: Random
    workshop: Workshop
    folder: Path
    calm: asyncio.Event
    trace: list[str]

    def note(self, who: str, what: str, **fields: object) -> None:
        shown = " ".join(f"{name}={value}" for name, value in fields.items())
        self.trace.append(f"{virtual_loop().now_ns() / 1e6:12.3f} {who:10} {what} {shown}")


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


class Process:
    """From its start to its end, whatever that is.  ``strikes_left`` is taken down by each thing that happens to it."""

    def __init__(self, world: World, role: str, name: str, strikes_left: int) -> None:
        self._world, self._role, self.name, self.strikes_left = world, role, name, strikes_left
        self._random = Random(world.random.getrandbits(64))
        self._line = Line(self._random, world.network)
        self._line.on_resume = self._strike  # whoever was not deposed meanwhile goes on, and not for ever
        self._stopping = asyncio.Event()
        self._is_told_to_leave = False

    async def run(self) -> int | None:
        """The code that the process ends with; None when it was killed or told to leave.  Raises what is a bug."""
        host = self._host()
        if self._role == "ticker":
            work = asyncio.create_task(run_ticker(host, FLOW))
        else:
            work = asyncio.create_task(run_worker(host, FLOW, self._stopping, beside=stand_in))
        ends = asyncio.create_task(self._line.over.wait())
        leaves = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({work, ends, leaves}, return_when=asyncio.FIRST_COMPLETED)
            if self._line.is_over or self._role == "ticker":
                work.cancel()
            elif not work.done():
                await asyncio.wait({work, ends}, return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
            await asyncio.wait({work})
        finally:
            for task in (work, ends, leaves):
                task.cancel()
            await asyncio.gather(work, return_exceptions=True)
            is_killed = self._line.is_over
            self._line.crash()
            await host.client.aclose()
        if is_killed:
            work.cancelled() or work.exception()
            return None
        return None if work.cancelled() else work.result()

    def _host(self) -> Host:
        # Nobody's clock shows what the server's does, nor what another's does; none is below 0, as it counts from boot.
        up_ns = int(self._random.random() * self._world.scenario.clocks_apart_s * NS_PER_S)
        clock = HostClock(virtual_loop(), self._line, up_ns)
        log = cast("FilteringBoundLogger", _Log(self._world, self.name, self._hear))
        return Host(
            client=line_client(self._world.server, self._line),
            namespace="sim",
            clock=clock,
            random=self._random,
            log=log,
            patience=Patience("redis://simulated:6379", clock, self._random, log),
            workshop=self._world.workshop,
            folder=self._world.folder,
            stdin=io.BytesIO(),
            stdout=io.BytesIO(),
            stderr=io.BytesIO(),
        )

    def _hear(self, event: str) -> None:
        if event in _TAKEN:
            self._strike()

    def _strike(self) -> None:
        """Decide what happens to it now that it leads or owns something, and when."""
        if self.strikes_left == 0 or self._line.is_over or self._world.calm.is_set():
            return
        self.strikes_left -= 1
        random, scenario, loop = self._random, self._world.scenario, virtual_loop()
        # Many of them early: taking over is where most can go wrong.
        commands = random.randint(1, random.choice((2, 12, scenario.life, scenario.life)))
        if random.random() < scenario.pauses:
            self._line.pause_after(commands, random.uniform(0.1, 5.0))
        elif (kind := random.random()) < 0.7:
            self._line.die_after(commands)
        else:
            end = self._line.crash if kind < 0.85 else self._stopping.set
            loop.call_later(random.uniform(0, commands * scenario.interval_ms / 1000), self._unless_calm, end)

    def _unless_calm(self, strike: Callable[[], None]) -> None:
        if not self._world.calm.is_set():
            strike()
