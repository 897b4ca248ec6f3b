"""A deployment of real processes in a folder of its own, and how its history is judged."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from redis import Redis

from metronome_worker.broker.keys import FlowKeys
from metronome_worker.cli.process import open_host
from metronome_worker.observe.history import judge
from metronome_worker.observe.recording import record
from tests.harness.processes import METRONOME, RealProcess, wait_until
from tests.harness.servers import FaultyServer

if TYPE_CHECKING:
    from pathlib import Path

    from metronome_worker.observe.history import History

FLOW: Final = "main"

#: The default of both roles.
LEASE_MS: Final = 1_500

#: After a fault everything must be at work again within this time, seconds, also on a busy machine.
BACK_S: Final = 30.0


class Replica(RealProcess):
    """A ticker or worker; it counts as the holder of a lease when its log says that it took that very epoch."""

    role: str

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [line for line in self.stderr.split("\n")[:-1] if f'"{event}"' in line]
        return [entry for line in lines if (entry := json.loads(line))["event"] == event]

    def has_taken(self, epoch: int, flow: str = FLOW) -> bool:
        taken = self.logged("leading" if self.role == "ticker" else "stage_taken")
        return any(entry["epoch"] == epoch and entry["flow"] == flow for entry in taken)


class Deployment:
    """Tickers and workers on a server of their own.  ``url``: what replicas connect to, unless another is named."""

    def __init__(self, folder: Path, flow_text: str) -> None:
        self.folder = folder
        (folder / "server").mkdir()
        (folder / "flow.troy").write_text(flow_text, encoding="utf-8")
        self.server = FaultyServer(folder / "server")
        self.url = self.server.url
        self.client = Redis.from_url(self.url, decode_responses=True)
        self.keys = FlowKeys(FLOW)
        self.replicas: list[Replica] = []
        self._numbers = count()
        self.sync_always()

    def sync_always(self) -> None:
        """Every write is on the disk before it is answered."""
        self.client.config_set("appendfsync", "always")

    def start(self, role: str, *, url: str | None = None, **environment: str) -> Replica:
        folder = self.folder / f"{role}{next(self._numbers)}"
        folder.mkdir()
        flows = [str(self.folder / "flow.troy")] if role == "ticker" else []
        command = [*METRONOME, role, *flows, "--redis", url or self.url]
        replica = Replica(command, folder, **environment)
        replica.role = role
        self.replicas.append(replica)
        return replica

    def start_all(self, tickers: int, workers: int) -> None:
        """Start replicas, and wait until all of them follow the flow and ticks are published."""
        started = [self.start("ticker") for _ in range(tickers)] + [self.start("worker") for _ in range(workers)]
        self.wait_for(lambda: len(self.members()) >= len(started), "every replica is there")
        self.wait_for(lambda: self.published() > 0, "ticks are published")

    def wait_for(self, is_so: Any, what: str, limit_s: float = BACK_S) -> None:
        try:
            wait_until(is_so, limit_s, what)
        except AssertionError as error:
            logs = "\n".join(f"{r.folder.name} ({r.is_running}): {r.stderr[-1500:]}" for r in self.replicas[-8:])
            raise AssertionError(f"{error}\n{logs}") from None

    def members(self) -> dict[str, dict[str, Any]]:
        found: dict[str, str] = self.client.hgetall(self.keys.members)  # type: ignore[assignment]
        return {name: json.loads(card.partition(" ")[2]) for name, card in found.items()}

    def published(self, connector: str = "tick") -> int:
        return int(self.client.hget(self.keys.schedule(connector), "published") or 0)  # type: ignore[arg-type]

    def epoch(self, lease: str) -> int | None:
        value: Any = self.client.get(self.keys.lease(lease))
        return int(value.split(" ")[0]) if value else None

    def holder(self, lease: str, role: str) -> Replica | None:
        """The live replica that holds a lease, as far as it has said so."""
        epoch = self.epoch(lease)
        alive = [replica for replica in self.replicas if replica.role == role and replica.is_running]
        return next((replica for replica in alive if epoch is not None and replica.has_taken(epoch)), None)

    def await_holder(self, lease: str, role: str) -> tuple[Replica, int]:
        """The replica that holds a lease, and its epoch."""
        found: list[tuple[Replica, int]] = []

        def is_held() -> bool:
            epoch, replica = self.epoch(lease), self.holder(lease, role)
            if epoch is not None and replica is not None and replica.has_taken(epoch):
                found.append((replica, epoch))
            return bool(found)

        self.wait_for(is_held, f"{lease} is held")
        return found[0]

    def await_progress(self, ticks: int, connector: str = "tick") -> None:
        """Until so many ticks more are published."""
        target = self.published(connector) + ticks
        self.wait_for(lambda: self.published(connector) >= target, f"{ticks} ticks more")

    def leave(self, code: int = 0) -> None:
        """End the run, wait until every replica has left, and hold them to the code."""
        self.client.xadd(self.keys.exit, {"exit": code, "by": "test"})
        for replica in self.replicas:
            if replica.is_running:
                assert replica.wait(BACK_S) == code, replica.stderr[-2000:]

    def exit_codes(self) -> tuple[int, ...]:
        """Of the replicas that nobody has ended."""
        codes = [replica.wait(0) for replica in self.replicas if not replica.is_running]
        return tuple(code for code in codes if code >= 0)

    def history(self, exit_codes: tuple[int, ...] = ()) -> History:
        return asyncio.run(self._record(exit_codes))

    async def _record(self, exit_codes: tuple[int, ...]) -> History:
        async with open_host(self.server.url, "metronome", structlog.get_logger()) as host:
            return (await record(host, self.keys, exit_codes)).history

    def judged(self, exit_codes: tuple[int, ...] = ()) -> History:
        """The history, in which the checker of `metronome verify` finds nothing wrong."""
        history = self.history(exit_codes)
        assert judge(history) == []
        unchecked = [f"{output.name}: {output.unchecked}" for output in history.outputs if output.unchecked]
        assert unchecked == []
        assert all("Traceback" not in replica.stderr for replica in self.replicas)
        return history

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.replicas:
            if replica.is_running:
                replica.kill()
        self.client.close()
        self.server.__exit__()


def gaps_ms(history: History, *, at_takeovers: bool = False) -> list[float]:
    """Times between two publications; ``at_takeovers``: only those where another leader went on."""
    ticks = history.schedules[0].ticks
    return [(b.ingest_ns - a.ingest_ns) / 1e6 for a, b in pairwise(ticks) if not at_takeovers or a.epoch != b.epoch]


def measured(text: str) -> None:
    """What a test has measured, for people (`pytest -s`, and a log of a full run)."""
    sys.stdout.write(f"\nMEASURED {text}\n")
