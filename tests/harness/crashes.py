"""Clients that die: one component of a simulated deployment ends between, before or after any command.

    life = Life(random)
    client = crashable_client(server, life)
    task = asyncio.create_task(ticker(client))
    life.die_after(17)            # at the 17th command from here; or life.crash() at any moment
    await life.over.wait()
    task.cancel()                 # what does not look at Redis (sleeping, writing files) must end too

At the command at which it dies the random number generator decides whether the server still executes it, with the
reply lost, or never sees it.  From then on no command of that client has any effect: like a process that was killed,
it runs none of its own clean-up against Redis.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import fakeredis
from fakeredis.aioredis import FakeAsyncRedisConnection

if TYPE_CHECKING:
    from random import Random


class Crashed(BaseException):
    """Raised out of every command of a client that is dead.  No ``except Exception`` of the component stops it."""


class Life:
    """Of one component.  Share one among all its clients."""

    def __init__(self, random: Random, *, hangs: bool = False) -> None:
        """``hangs``: commands of the dead never return, instead of raising ``Crashed``."""
        self._random, self._hangs = random, hangs
        self._left = -1
        self.is_over = False
        self.over = asyncio.Event()
        #: Commands sent so far, connection set-up included.
        self.commands = 0

    def crash(self) -> None:
        """Die now: what is pending gets no reply, and nothing further is sent."""
        self.is_over = True
        self.over.set()

    def die_after(self, commands: int) -> None:
        """Die at the ``commands``-th command from here, 1 being the next."""
        self._left = commands

    async def before_command(self) -> None:
        """Raises or hangs if the component is dead, or dies before this command reaches the server."""
        if self.is_over:
            await self.end()
        self.commands += 1
        self._left -= 1
        if self._left == 0:
            is_executed = self._random.random() < 0.5
            self.crash()
            if not is_executed:
                await self.end()

    async def end(self) -> NoReturn:
        if self._hangs:
            await asyncio.get_running_loop().create_future()
        raise Crashed


class CrashableConnection(FakeAsyncRedisConnection):
    """A connection that asks its ``Life`` before each command and after each reply."""

    def __init__(self, *, life: Life, **settings: Any) -> None:
        self._life = life
        super().__init__(lib_name=None, lib_version=None, **settings)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        await self._life.before_command()
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **settings: Any) -> Any:
        """The reply, unless the component died before it came: a pending blocking read dies at once."""
        if self._life.is_over:
            await self._life.end()
        if await self.can_read(0):
            return await super().read_response(*args, **settings)
        reading = asyncio.ensure_future(super().read_response(*args, **settings))
        dying = asyncio.ensure_future(self._life.over.wait())
        try:
            await asyncio.wait([reading, dying], return_when=asyncio.FIRST_COMPLETED)
            if self._life.over.is_set():  # since this began
                await self._life.end()
            return reading.result()
        finally:
            for task in (reading, dying):
                task.cancel()
            await asyncio.gather(reading, dying, return_exceptions=True)


def crashable_client(server: fakeredis.FakeServer, life: Life) -> Any:
    """A client of ``server`` that dies with ``life``; untyped as ``fake_client`` is."""
    client = fakeredis.FakeAsyncRedis(server=server, version=(7, 0), connection_class=CrashableConnection)
    client.connection_pool.connection_kwargs["life"] = life
    return client
