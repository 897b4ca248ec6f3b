"""Connections to a server that is not always the same one: the primary that Sentinels name, the owner of a slot.

A ``Directory`` says where to go, as far as it knows.  A ``RoutedPool`` asks it for each connection that it gives away,
so everything that redis-py builds on a pool (commands, transactions, publish/subscribe) goes to the right server.  Each
error that a connection meets is told to the directory, which then asks anew.  Nothing is repeated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio import ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from metronome_worker.broker.outages import is_outage, reason_of
from metronome_worker.broker.wire import Pool, TcpConnection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from metronome_worker.broker.addresses import Endpoint


class Directory(Protocol):
    """Knows where servers are."""

    async def locate(self, slot: int) -> Endpoint:
        """The server that holds ``slot`` now.  Raises what redis-py raises when nobody can tell."""

    def heed(self, error: RedisError, node: Endpoint) -> None:
        """``node`` answered with an error, or not at all: what is known may be out of date."""

    async def aclose(self) -> None:
        """Close what was opened to ask."""


class Nodes:
    """A pool of connections to each of several servers, opened alike."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self._pools: dict[Endpoint, Pool] = {}

    def pool(self, node: Endpoint) -> Pool:
        """The connections to ``node``; none is opened by this."""
        if node not in self._pools:
            self._pools[node] = Pool(TcpConnection, host=node.host, port=node.port, **self.settings)
        return self._pools[node]

    async def ask(self, node: Endpoint, *command: str) -> Any:
        """Send a command to ``node`` and return its reply as it is."""
        pool = self.pool(node)
        connection = await pool.get_connection()
        try:
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            await pool.release(connection)

    async def keep_only(self, nodes: Collection[Endpoint]) -> None:
        """Close connections to other servers, but those that are in use."""
        for gone in self._pools.keys() - set(nodes):
            await self._pools[gone].disconnect(inuse_connections=False)

    async def retire_others(self, node: Endpoint) -> None:
        """Cut the connections to other servers, also those in use: what is heard there holds no longer."""
        gone = [self._pools.pop(other) for other in self._pools.keys() - {node}]
        for pool in gone:  # all of them before anything is waited for, which may be cancelled
            pool.retire()
        for pool in gone:
            await pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.disconnect()


class RoutedPool(ConnectionPool):
    """Gives connections to the server that holds ``slot`` now, out of the pool of that server."""

    def __init__(self, nodes: Nodes, directory: Directory, slot: int = 0) -> None:
        super().__init__(TcpConnection, **nodes.settings)
        self.nodes, self._directory, self._slot = nodes, directory, slot
        self._homes: dict[Any, ConnectionPool] = {}

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        node = await self._directory.locate(self._slot)
        home = self.nodes.pool(node)
        try:
            connection = await home.get_connection()
        except RedisError as error:
            self._directory.heed(error, node)
            raise
        self._homes[connection] = home
        return connection

    async def locate(self) -> ConnectionPool:
        """The pool of that server."""
        return self.nodes.pool(await self._directory.locate(self._slot))

    async def release(self, connection: Any) -> None:
        await self._homes.pop(connection).release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Ends all connections to all servers: they belong to everybody who uses the same directory."""
        await self.nodes.aclose()
        await self._directory.aclose()


async def home_of(pool: ConnectionPool) -> ConnectionPool:
    """The connections to the one server that ``pool`` gives connections to now; the same for all who go there."""
    return await pool.locate() if isinstance(pool, RoutedPool) else pool


class NobodyAnswered(RedisConnectionError):
    """Nobody could tell; ``failures``: what was wrong with each."""

    def __init__(self, what: str, failures: list[tuple[Endpoint, RedisError]]) -> None:
        self.failures = failures
        super().__init__(f"{what}: " + "; ".join(f"{node}: {reason_of(error)}" for node, error in failures))


async def first_answer(
    nodes: Iterable[Endpoint], question: Callable[[Endpoint], Awaitable[Any]], nobody: str
) -> tuple[Endpoint, Any]:
    """Ask one after the other; who answered first, and what.

    When nobody does: what they all refuse us for, if they do, as waiting would not help; else ``NobodyAnswered``, which
    is an outage.  ``nobody`` says what was asked for.
    """
    failures: list[tuple[Endpoint, RedisError]] = []
    for node in nodes:
        try:
            return node, await question(node)
        except RedisError as error:
            failures.append((node, error))
    refusals = [error for _, error in failures if not is_outage(error)]
    if refusals and len(refusals) == len(failures):
        raise refusals[0]
    raise NobodyAnswered(nobody, failures)
