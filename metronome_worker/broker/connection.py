"""The client of Redis, whatever stands behind its URL; and the patience with one that is away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from metronome_worker.broker.addresses import Kind, address, parse_url
from metronome_worker.broker.cluster import ClusterClient, ClusterDirectory
from metronome_worker.broker.outages import is_outage, raise_translated, reason_of
from metronome_worker.broker.routing import Nodes, RoutedPool
from metronome_worker.broker.sentinel import SentinelDirectory
from metronome_worker.broker.wire import Pool, SocketConnection, TcpConnection, connection_settings, network_settings
from metronome_worker.clock import NS_PER_MS
from metronome_worker.errors import BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.broker.addresses import RedisUrl
    from metronome_worker.clock import Clock

T = TypeVar("T")


def open_client(url: str, *, name: str = "metronome") -> Redis:
    """A client for ``url``; nothing is sent yet, replies are bytes.  ``name`` is what CLIENT LIST shows.

    On a cluster see ``cluster.flow_client``.  Raises OperatorError for a URL that is wrong, or names unusable files.
    """
    parsed = parse_url(url)
    settings = connection_settings(name, parsed.login, parsed.db)
    match parsed.kind:
        case Kind.SOCKET:
            return Redis.from_pool(Pool(SocketConnection, path=parsed.path, **settings))
        case Kind.SERVER:
            [server] = parsed.endpoints
            settings |= network_settings(parsed.tls)
            return Redis.from_pool(Pool(TcpConnection, host=server.host, port=server.port, **settings))
        case Kind.SENTINEL | Kind.CLUSTER:
            return _routed_client(parsed, settings | network_settings(parsed.tls), name)


def _routed_client(url: RedisUrl, settings: dict[str, Any], name: str) -> Redis:
    nodes = Nodes(settings)
    if url.kind is Kind.CLUSTER:
        cluster = ClusterDirectory(url.endpoints, nodes)
        nodes.settings["on_error"] = cluster.heed
        return ClusterClient(nodes, cluster)
    sentinels = SentinelDirectory(url, nodes, name)
    nodes.settings["on_error"] = sentinels.heed
    return Redis.from_pool(RoutedPool(nodes, sentinels))


class Patience:
    """Waits for a Redis that went away, and does again what was interrupted.

    One for all tasks of a process, so that an outage is logged once when it begins and once when it is over,
    however many tasks it stops.  Waits grow from ``first_wait_ms`` to ``longest_wait_ms``, by jitter less than that,
    so that many processes do not come back at the same moment.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        random: Random,
        log: FilteringBoundLogger,
        *,
        first_wait_ms: int = 20,
        longest_wait_ms: int = 2_000,
    ) -> None:
        self._url, self._clock, self._random, self._log = url, clock, random, log
        self._first_wait_ms, self._longest_wait_ms = first_wait_ms, longest_wait_ms
        self._waiting = 0
        self._away_since_ns = 0

    async def insist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do ``operation`` until Redis answers, and return what it returns.

        It must be idempotent: an attempt whose answer was lost may have happened.  Raises OperatorError when Redis
        refuses us for good, and whatever else the operation raises.  Cancelling ends the waiting.
        """
        wait_ms, is_waiting = float(self._first_wait_ms), False
        try:
            while True:
                try:
                    result = await operation()
                except (RedisError, BrokerUnavailable) as error:
                    if not is_outage(error):
                        raise_translated(error, self._url)
                    if not is_waiting:
                        is_waiting = True
                        self._begin_waiting(error)
                else:
                    if is_waiting:
                        self._note_answer()
                    return result
                await self._clock.sleep(wait_ms / 1000 * self._random.uniform(0.5, 1.0))
                wait_ms = min(2 * wait_ms, float(self._longest_wait_ms))
        finally:
            self._waiting -= is_waiting

    def _begin_waiting(self, error: BaseException) -> None:
        self._waiting += 1
        if self._waiting == 1:
            self._away_since_ns = self._clock.now_ns()
            self._log.warning("redis_away", server=address(self._url), reason=reason_of(error))

    def _note_answer(self) -> None:
        if self._waiting == 1:
            away_ms = (self._clock.now_ns() - self._away_since_ns) // NS_PER_MS
            self._log.info("redis_back", server=address(self._url), away_ms=away_ms)
