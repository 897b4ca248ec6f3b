"""What a role is given by the process that it runs in.  Clock, randomness and the Redis client come from here only."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.news import NewsDesk
from metronome_worker.broker.rounds import Rounds
from metronome_worker.connectors.kind import ConnectorEnvironment
from metronome_worker.settings import TickerSettings, WorkerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from structlog.typing import FilteringBoundLogger

    from metronome_worker.assembly import Workshop
    from metronome_worker.broker.connection import Patience
    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.clock import Clock


class Host(Struct, frozen=True, kw_only=True):
    """One process, real or simulated.  ``folder``: what relative paths of connectors refer to.
    ``desk``: where all of it listens to what is announced.  ``rounds``: where it asks together.  ``planning``: held by
    whoever makes a plan.  ``suspicion``: held by whoever works on an entry that may kill the process.

    On a cluster ``client`` sends each command where its key is; see ``for_flow``.

    ``outlives_refusals``: when an operator must act on something, everything else goes on; else the process ends.
    """

    client: Redis
    namespace: str
    clock: Clock
    random: Random
    log: FilteringBoundLogger
    patience: Patience
    workshop: Workshop
    folder: Path
    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    ticker: TickerSettings = TickerSettings()
    worker: WorkerSettings = WorkerSettings()
    outlives_refusals: bool = False
    desk: NewsDesk = field(default_factory=NewsDesk)
    rounds: Rounds = field(default_factory=Rounds)
    planning: asyncio.Lock = field(default_factory=asyncio.Lock)
    suspicion: asyncio.Lock = field(default_factory=asyncio.Lock)

    def for_flow(self, keys: FlowKeys) -> Host:
        """The same, with a client of the one server that holds a flow: for its clock, and for more than one command."""
        return replace(self, client=flow_client(self.client, keys))

    def environment(self, keys: FlowKeys, is_ours: Callable[[], bool] = lambda: True) -> ConnectorEnvironment:
        """What the connectors of a flow are given; ``is_ours`` as in ``ConnectorEnvironment``."""
        return ConnectorEnvironment(
            keys=keys,
            base_directory=self.folder,
            stdin=self.stdin,
            stdout=self.stdout,
            stderr=self.stderr,
            is_ours=is_ours,
        )
