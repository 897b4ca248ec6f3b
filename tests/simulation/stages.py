"""Workers of one flow on a simulated server, given entries by hand: for what happens inside a stage.

    async with Bench(flow_text, folder, seed) as bench:
        bench.start(3)                      # three workers
        await bench.add(range(10))          # entries of the source `tick`
        await bench.settle()                # until all is done
        bench.letters(), bench.lines()

An event ``{"kill": true}`` kills whichever process works on it, as a fault in a library would.
"""

from __future__ import annotations

import asyncio
import io
from random import Random
from typing import TYPE_CHECKING, Any, Self, cast

import msgspec
from msgspec.structs import replace

from metronome_worker.assembly import Workshop, check_file
from metronome_worker.broker.connection import Patience
from metronome_worker.broker.flows import deploy_flow, load_flow
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Lease, Leases
from metronome_worker.broker.letters import Unfit, input_for, letter_of, put_back
from metronome_worker.connectors.schedules import layout_of
from metronome_worker.host import Host
from metronome_worker.observe.history import judge
from metronome_worker.observe.recording import record
from metronome_worker.ticker.role import stand_in
from metronome_worker.worker.role import run_worker
from tests.harness.network import HostClock, Line, Network, line_client
from tests.harness.virtual_clock import VirtualClock, fake_client, fake_server, virtual_loop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.plan.model import FlowPlan, StageGraph
    from metronome_worker.runtime.effects import Effects, Entry
    from metronome_worker.runtime.stage import StageProgram

KEYS = FlowKeys("main", "sim")

#: Every test must have settled within this time, virtual seconds.
LIMIT_S = 300.0


class _Log:
    """Keeps what was logged."""

    def __init__(self, said: list[str]) -> None:
        self._said = said

    def bind(self, **_: object) -> Self:
        return self

    def debug(self, event: str, **_: object) -> None:
        pass

    def info(self, event: str, **_: object) -> None:
        self._said.append(event)

    warning = error = info


class _Deadly:
    """A program in which some events kill the process that runs it."""

    def __init__(self, program: StageProgram, line: Line) -> None:
        self._program, self._line = program, line

    def run(self, source_node: str, entries: Sequence[Entry], effects: Effects) -> None:
        if any(isinstance(event, dict) and event.get("kill") for _, event, _ in entries):
            self._line.crash()
            raise asyncio.CancelledError
        self._program.run(source_node, entries, effects)


class _DeadlyWorkshop(Workshop):
    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def compile_stage(self, graph: StageGraph, bundle: Any) -> Any:
        return _Deadly(super().compile_stage(graph, bundle), self._line)


class Worker:
    """One worker process.  ``line`` is how it is killed and paused."""

    def __init__(self, bench: Bench) -> None:
        self.line = Line(Random(bench.random.getrandbits(64)), bench.network)
        self.stopping = asyncio.Event()
        self.said: list[str] = []
        up_ns = int(bench.random.random() * 1e12)
        clock = HostClock(virtual_loop(), self.line, up_ns)
        log = cast("FilteringBoundLogger", _Log(self.said))
        self.host = Host(
            client=line_client(bench.server, self.line),
            namespace="sim",
            clock=clock,
            random=Random(bench.random.getrandbits(64)),
            log=log,
            patience=Patience("redis://simulated:6379", clock, bench.random, log),
            workshop=_DeadlyWorkshop(self.line),
            folder=bench.folder,
            stdin=io.BytesIO(),
            stdout=io.BytesIO(),
            stderr=io.BytesIO(),
        )
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> int | None:
        work = asyncio.create_task(run_worker(self.host, KEYS.flow_name, self.stopping, beside=stand_in))
        over = asyncio.create_task(self.line.over.wait())
        try:
            await asyncio.wait({work, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self.host.client.aclose()
        return None if self.line.is_over or work.cancelled() else work.result()


class Bench:
    """A server, a flow, workers."""

    def __init__(self, flow_text: str, folder: Path, seed: int = 0) -> None:
        self._text, self.folder = flow_text, folder
        self.random = Random(seed)
        self.network = Network(Random(seed + 1))
        self.workers: list[Worker] = []
        self.plan: FlowPlan
        self._added = 0

    async def __aenter__(self) -> Self:
        self.clock = VirtualClock(virtual_loop())  # the server's
        self._time = fake_server(self.clock)
        self.server = self._time.__enter__()
        self.client = fake_client(self.server)
        await self.deploy(self._text)
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.task.cancel()
        await asyncio.gather(*(worker.task for worker in self.workers), return_exceptions=True)
        await self.client.aclose()
        self._time.__exit__(None, None, None)

    async def deploy(self, flow_text: str) -> None:
        path = self.folder / "flow.troy"
        path.write_text(flow_text)
        checked = check_file(path, ())
        assert not checked.has_errors, [diagnostic.message for diagnostic in checked.diagnostics]
        (flow,) = checked.flows
        self.plan = flow.plan
        await deploy_flow(self.client, KEYS, flow.digest, flow.bundle, layout_of(flow.plan))

    def start(self, workers: int = 1) -> list[Worker]:
        """Start so many; one that a poison kills is for the test to replace."""
        started = [Worker(self) for _ in range(workers)]
        self.workers += started
        return started

    def keep_alive(self, count: int) -> asyncio.Task[None]:
        """Replace whoever is dead, so that ``count`` are alive; cancel it to have that stopped."""

        async def keep() -> None:
            while True:
                alive = [worker for worker in self.workers if not worker.task.done()]
                self.start(count - len(alive))
                await asyncio.sleep(0.2)

        return asyncio.create_task(keep())

    async def add(self, values: Iterable[Any], source: str = "tick") -> None:
        """Add entries to the stream of a source: ``{"id": n}``, or what is given."""
        for value in values:
            event = value if isinstance(value, dict) else {"id": value}
            fields = {"data": msgspec.json.encode(event), "ingest_ns": 1, "meta": b'{"metronome":{"epoch":1}}'}
            self._added += source == "tick"
            await self.client.xadd(KEYS.events(source), fields)

    async def done(self) -> int:
        """How many entries of the source are done, by the counter of its stage."""
        return int(await self.client.hget(KEYS.state("tick"), "read:tick") or 0)

    async def settle(self) -> None:
        """Until every entry is done."""
        async with asyncio.timeout(LIMIT_S):
            while await self.done() < self._added or await self._waits("replay:tick"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def _waits(self, name: str) -> bool:
        if not await self.client.exists(KEYS.events(name)):
            return False
        added = (await self.client.xinfo_stream(KEYS.events(name)))["entries-added"]
        return int(await self.client.hget(KEYS.state("tick"), f"read:{name}") or 0) < added

    async def letters(self) -> list[dict[str, str]]:
        """The dead letters."""
        return [letter_of(*entry).fields for entry in await self.client.xrange(KEYS.dead)]

    async def replay_all(self) -> list[str]:
        """Put back what can be put back; returns why the rest cannot."""
        record = await load_flow(self.client, KEYS)
        assert record is not None
        letters = [letter_of(*entry) for entry in await self.client.xrange(KEYS.dead)]
        going, refused = dict[str, str](), list[str]()
        for letter in letters:
            try:
                going[letter.letter_id] = input_for(self.plan, letter)
            except Unfit as unfit:
                refused.append(str(unfit))
        await put_back(self.client, KEYS, record.token, going)
        return refused

    async def violations(self) -> list[str]:
        """What `metronome verify` finds wrong."""
        host = replace(self.workers[0].host, client=self.client)
        return judge((await record(host, KEYS)).history)

    async def request_exit(self, code: int = 0) -> None:
        await self.client.xadd(KEYS.exit, {"exit": code})

    async def take_lease(self, name: str) -> Lease:
        """As a ticker of the test's own."""
        leases = Leases(self.client, KEYS, VirtualClock(virtual_loop()), self.random, 60_000)
        lease = await leases.acquire(name, leases.new_holder())
        assert isinstance(lease, Lease)
        return lease

    def lines(self, name: str = "out.txt") -> list[str]:
        """Of a file that the flow writes."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []
