"""What every long-running command needs of its process: a host, and signals that make it leave in order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING

from metronome_worker.assembly import Workshop
from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.server_check import check_server
from metronome_worker.clock import SystemClock
from metronome_worker.host import Host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from structlog.typing import FilteringBoundLogger


@asynccontextmanager
async def open_host(url: str, namespace: str, log: FilteringBoundLogger) -> AsyncIterator[Host]:
    """This process as a host on the Redis at ``url``.  Raises ``OperatorError`` when that cannot be worked with."""
    # What is loaded by now stays: the collector need not look through it again and again.
    gc.freeze()
    clock, random = SystemClock(), SystemRandom()
    host = Host(
        client=open_client(url),
        namespace=namespace,
        clock=clock,
        random=random,
        log=log,
        patience=Patience(url, clock, random, log),
        workshop=Workshop(),
        folder=Path.cwd(),
        stdin=sys.stdin.buffer,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr.buffer,
    )
    try:
        for warning in await check_server(host.client, url, clock=clock, namespace=namespace):
            log.warning("server_unsuited", what=warning.what.rstrip(":"), value=warning.value, advice=warning.advice)
        yield host
    finally:
        await host.client.aclose()


class Signals:
    """``stopping`` is set by the first SIGTERM or SIGINT; ``status`` is what to leave with then."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self.stopping = asyncio.Event()
        self.status: int | None = None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Heed signals as long as this lasts; a second one ends the process at once."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self, number: signal.Signals) -> None:
        if self.stopping.is_set():
            self._log.warning("leaving_at_once", signal=number.name)
            os._exit(128 + number)
        self._log.info("leaving_in_order", signal=number.name)
        self.status = 0 if number is signal.SIGTERM else 128 + number
        self.stopping.set()
