"""What all processes of one simulation share."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from metronome_worker.assembly import CheckedFlow, Workshop
from metronome_worker.broker.flows import Bundle
from metronome_worker.broker.keys import FlowKeys
from tests.harness.virtual_clock import virtual_loop
from tests.simulation.flows import FlowSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from random import Random

    from tests.harness.fake_server import RememberingServer
    from tests.harness.network import Network
    from tests.harness.virtual_clock import VirtualClock
    from tests.simulation.processes import Replica
    from tests.simulation.scenario import Incident, Scenario

NAMESPACE = "sim"


def keys_of(flow: str) -> FlowKeys:
    return FlowKeys(flow, NAMESPACE)


class Deployed:
    """A flow of this simulation, as it was deployed at the start."""

    def __init__(self, spec: FlowSpec, checked: CheckedFlow) -> None:
        self.spec, self.checked = spec, checked


class World:
    """``calm``: set when nothing goes wrong any more.  ``trace``: what processes logged, with the time in virtual ms.

    ``witness``: a client that always reaches the server.  ``counts``: how often what happened.
    """

    def __init__(
        self,
        scenario: Scenario,
        random: Random,
        server: RememberingServer,
        server_clock: VirtualClock,
        network: Network,
        witness: Any,
        folder: Path,
    ) -> None:
        self.scenario, self.random = scenario, random
        self.server, self.server_clock, self.network, self.witness = server, server_clock, network, witness
        self.folder = folder
        self.workshop = _workshop()
        self.flows = tuple(Deployed(spec, self.check(spec)) for spec in scenario.flows)
        self.replicas: list[Replica] = []
        self.calm = asyncio.Event()
        #: When the processes of a run without exit were stopped, ms by the server's clock.
        self.over_ms: int | None = None
        self.trace: list[str] = []
        self.counts: Counter[str] = Counter()
        self._drain_strikes = scenario.drain_strikes
        self._tasks: list[asyncio.Task[None]] = []

    def check(self, spec: FlowSpec, change: str = "") -> CheckedFlow:
        return _checked(spec, change)

    def note(self, who: str, what: str, /, **fields: object) -> None:
        shown = " ".join(f"{name}={value}" for name, value in fields.items())
        self.trace.append(f"{virtual_loop().now_ns() / 1e6:12.3f} {who:10} {what} {shown}")

    def count(self, what: str, times: int = 1) -> None:
        self.counts[what] += times

    def hear(self, event: str) -> None:
        """What some process has logged.  When the sources have stopped, some are struck while they drain."""
        self.counts[event] += 1
        if event == "sources_stopped":
            for _ in range(self._drain_strikes):
                replica = self.random.choice(self.replicas)
                virtual_loop().call_later(self.random.random() ** 3, replica.strike_now)
            self._drain_strikes = 0

    def later(self, seconds: float, work: Callable[[World, Incident], Awaitable[None]], incident: Incident) -> None:
        """Have something done beside the rest; the simulation waits for it before it judges."""

        async def do() -> None:
            await asyncio.sleep(seconds)
            await work(self, incident)

        self._tasks.append(asyncio.create_task(do()))

    async def settle(self) -> None:
        await asyncio.gather(*self._tasks)


@lru_cache(maxsize=1)
def _workshop() -> Workshop:
    """One for many seeds, as making a plan takes as long as some ten virtual seconds."""
    return Workshop()


@lru_cache(maxsize=512)
def _checked(spec: FlowSpec, change: str) -> CheckedFlow:
    """The flow as it is deployed; it uses no modules, so its text is all of its source."""
    main = f"{spec.name}.troy"
    bundle = Bundle(main=main, flow=spec.name, sources={main: spec.text(change)})
    return CheckedFlow(plan=_workshop().plan_of(bundle), bundle=bundle)
