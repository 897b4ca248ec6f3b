"""The primary of a service, as the Sentinels that watch it say.

They are asked for it at first, and again whenever something went wrong with the one that they named: it may be dead, or
a replica by now.  Also when all is well one of them is asked every second: in a failover by hand the old primary goes
on taking writes for some seconds, and these are lost.  Once they name another one, all connections to the old one are
cut: so every session begins again, from what the new one holds.

redis-py's own client for Sentinels is not used: it counts a password that they refuse, or a
certificate, as an outage that passes, and says of a service that nobody knows no more than of one that is down.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from metronome_worker.broker.addresses import Endpoint
from metronome_worker.broker.outages import SentinelRefused, is_outage
from metronome_worker.broker.routing import NobodyAnswered, Nodes, first_answer
from metronome_worker.broker.wire import connection_settings, network_settings

if TYPE_CHECKING:
    from metronome_worker.broker.addresses import RedisUrl

_QUESTION: Final = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME")

#: How often a Sentinel is asked when all is well, how long it may take, and for how long one that did not answer is
#: left alone.
_LOOK_S: Final = 1.0
_LOOK_LIMIT_S: Final = 0.25
_LEAVE_ALONE_S: Final = 5.0


class UnknownService(RedisConnectionError):
    """No Sentinel that answers watches a service of this name.  While we run that may pass: they are set up anew."""


class SentinelDirectory:
    """Where the primary is."""

    def __init__(self, url: RedisUrl, nodes: Nodes, name: str) -> None:
        self._service, self._sentinels = url.service, list(url.endpoints)
        #: Pools of connections to the Sentinels, and to the servers.
        self._offices = Nodes(connection_settings(name, url.sentinel_login) | network_settings(url.tls))
        self._nodes = nodes
        self._primary: Endpoint | None = None
        self._asking = asyncio.Lock()
        #: On the loop's clock.
        self._look_at_s = 0.0

    async def locate(self, slot: int) -> Endpoint:
        """The primary that the first Sentinel names which answers.  Whether it is one still is for it to say."""
        if self._primary is not None and asyncio.get_running_loop().time() < self._look_at_s:
            return self._primary
        async with self._asking:
            primary = self._primary
            primary = await self._ask() if primary is None else await self._look_again(primary)
            if primary != self._primary:
                self._primary = primary
                # Whoever listens to the old one would go on with what is lost, if nobody else can reach it.
                await self._nodes.retire_others(primary)
            return primary

    def heed(self, error: RedisError, node: Endpoint) -> None:
        if is_outage(error) and node == self._primary:
            self._primary = None

    async def aclose(self) -> None:
        await self._offices.aclose()

    async def _ask(self) -> Endpoint:
        try:
            answered, (host, port) = await first_answer(
                tuple(self._sentinels), self._ask_one, f"no Sentinel can tell where the primary of {self._service} is"
            )
        except NobodyAnswered as error:
            if any(isinstance(failure, UnknownService) for _, failure in error.failures):
                raise UnknownService(str(error)) from error
            raise
        # The next time it is asked first: one that is away costs time.
        self._sentinels.remove(answered)
        self._sentinels.insert(0, answered)
        self._look_at_s = asyncio.get_running_loop().time() + _LOOK_S
        return Endpoint(host.decode(), int(port))

    async def _look_again(self, known: Endpoint) -> Endpoint:
        """Whoever comes while we ask goes where all went before.  Sentinels that are away are no reason to stop."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._look_at_s:
            return known
        self._look_at_s = now_s + _LOOK_S
        try:
            async with asyncio.timeout(_LOOK_LIMIT_S):
                host, port = await self._ask_one(self._sentinels[0])
        except (TimeoutError, RedisError):
            self._look_at_s = now_s + _LEAVE_ALONE_S
            return known
        return Endpoint(host.decode(), int(port))

    async def _ask_one(self, sentinel: Endpoint) -> Any:
        try:
            found = await self._offices.ask(sentinel, *_QUESTION, self._service)
        except AuthenticationError as error:
            raise SentinelRefused(f"{sentinel}: {error}") from error
        if found is None:
            raise UnknownService(f"it watches no service {self._service}")
        return found
