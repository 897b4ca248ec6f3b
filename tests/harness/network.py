"""The way between one component and the server: it takes time, it is cut, and its ends stop and go on.

    network = Network(random)
    line = Line(random, network)
    client = line_client(server, line)
    line.pause_after(3, seconds=5.0)      # as SIGSTOP at the third command from here, and SIGCONT 5 s later
    network.cut(seconds=20.0)             # nobody reaches the server; what is under way fails
    network.restart(seconds=2.0)          # the same, and no connection outlives it
    network.hold(seconds=3.0)             # as SIGSTOP of the server: what is under way takes so much longer
    network.slow(0.5, seconds=10.0)       # each way takes up to half a second
    line.cut(seconds=5.0)                 # only this component does not reach the server

What was handed to the network before its sender was cancelled may still arrive, long after: nothing calls it back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import fakeredis
from fakeredis.aioredis import FakeAsyncRedisConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.harness.crashes import Life
from tests.harness.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.harness.virtual_clock import VirtualLoop

#: How late a command may arrive whose sender has given it up, seconds; longer than any lease of a test.
_LATEST_ARRIVAL_S: Final = 4.0


class Network:
    """Between all components and the server.  ``latency_s``: the longest that one direction takes."""

    def __init__(self, random: Random, latency_s: float = 0.002) -> None:
        self.random, self.latency_s = random, latency_s
        self._usual_latency_s = latency_s
        self.is_up = True
        #: How often the server was restarted: a connection from before is none any more.
        self.generation = 0
        self.connections_made = 0
        self.lines: list[Line] = []
        self._is_moving = asyncio.Event()
        self._is_moving.set()

    def cut(self, seconds: float) -> None:
        """Until then nothing arrives, and whoever waits for a reply is told that the connection is lost."""
        self.is_up = False
        for line in self.lines:
            line.trouble.set()
        asyncio.get_running_loop().call_later(seconds, self._mend)

    def _mend(self) -> None:
        self.is_up = True
        for line in self.lines:
            line.mend()

    def restart(self, seconds: float) -> None:
        """The server ends now, and is back after so long.  What it holds is left to the caller."""
        self.generation += 1
        self.cut(seconds)

    def hold(self, seconds: float) -> None:
        """Until then nothing arrives, and nothing is lost."""
        self._is_moving.clear()
        asyncio.get_running_loop().call_later(seconds, self._is_moving.set)

    def slow(self, latency_s: float, seconds: float) -> None:
        """Until then one direction takes up to so long."""
        self.latency_s = latency_s
        asyncio.get_running_loop().call_later(seconds, self._hurry)

    def _hurry(self) -> None:
        self.latency_s = self._usual_latency_s

    def calm(self) -> None:
        """End whatever is wrong with it, and all that is planned for lines; who is stopped goes on in its time."""
        self._is_moving.set()
        self._hurry()
        for line in self.lines:
            line.is_cut = False
            line.disarm()
        self._mend()

    async def while_held(self) -> None:
        if not self._is_moving.is_set():
            await self._is_moving.wait()


class Line(Life):
    """Of one component.  ``trouble`` is set while no reply can come: it is dead, or the network is cut."""

    def __init__(self, random: Random, network: Network) -> None:
        super().__init__(random)
        self.random, self.network = random, network
        self.is_cut = False
        self.trouble = asyncio.Event()
        if not network.is_up:
            self.trouble.set()
        network.lines.append(self)
        self._going_on = asyncio.Event()
        self._going_on.set()
        self._pause_in, self._pause_s = -1, 0.0
        #: Called when a pause is over.
        self.on_resume: Callable[[], None] | None = None

    def crash(self) -> None:
        super().crash()
        self.trouble.set()
        self._going_on.set()
        if self in self.network.lines:
            self.network.lines.remove(self)

    def cut(self, seconds: float) -> None:
        """Until then it does not reach the server, and whatever it waits for is lost."""
        self.is_cut = True
        self.trouble.set()
        asyncio.get_running_loop().call_later(seconds, self._mend_cut)

    def _mend_cut(self) -> None:
        self.is_cut = False
        self.mend()

    def mend(self) -> None:
        """It reaches the server again, unless there is another reason why it does not."""
        if not (self.is_over or self.is_cut) and self.network.is_up:
            self.trouble.clear()

    def pause(self, seconds: float) -> None:
        """It does nothing for so long: sends nothing, hears nothing, and does not see its clock."""
        self._going_on.clear()
        asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._going_on.set()
        if self.on_resume is not None and not self.is_over:
            self.on_resume()

    def pause_after(self, commands: int, seconds: float) -> None:
        """Pause at the ``commands``-th command from here: before it is sent, or before its reply is heard."""
        self._pause_in, self._pause_s = commands, seconds

    def disarm(self) -> None:
        """Neither die nor pause at a later command, whatever was decided before."""
        self._left = self._pause_in = -1

    async def while_paused(self) -> None:
        if not self._going_on.is_set():
            await self._going_on.wait()

    async def before_command(self) -> None:
        await self.while_paused()
        await super().before_command()
        self._pause_in -= 1
        if self._pause_in == 0:
            self.pause(self._pause_s)
            if self.random.random() < 0.5:
                await self.while_paused()
                if self.is_over:
                    await self.end()

    async def travel(self) -> None:
        """Raises when the network is cut."""
        if self._is_up:
            await asyncio.sleep(self.random.random() * self.network.latency_s)
            await self.network.while_held()
        if not self._is_up:
            raise RedisConnectionError("the simulated network is cut")

    @property
    def _is_up(self) -> bool:
        return self.network.is_up and not self.is_cut


class LineConnection(FakeAsyncRedisConnection):
    """A connection over a ``Line``.  A half-done exchange closes it, as in redis-py."""

    def __init__(self, *, line: Line, **settings: Any) -> None:
        self._line = line
        line.network.connections_made += 1
        self._number = line.network.connections_made
        self._generation = line.network.generation
        super().__init__(lib_name=None, lib_version=None, **settings)

    def __hash__(self) -> int:
        """Its number, not its address: pools keep sets of connections, whose order must repeat."""
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    async def _connect(self) -> None:
        self._generation = self._line.network.generation
        await super()._connect()

    async def can_read_destructive(self) -> bool:
        """What redis-py asks before it uses a connection that lay idle: it sees that the other end is closed."""
        self._require_server()
        return await super().can_read_destructive()

    def _require_server(self) -> None:
        """A connection to a server that was restarted meanwhile is none."""
        if self._generation != self._line.network.generation:
            raise RedisConnectionError("the simulated server has closed the connection")

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        try:
            await self._line.before_command()
            if not self._line.is_over:  # it dies with this command, which arrives
                await self._line.travel()
            self._require_server()
        except asyncio.CancelledError:
            self._arrive_later(command)
            await self.disconnect(nowait=True)
            raise
        except BaseException:
            await self.disconnect(nowait=True)
            raise
        await super().send_packed_command(command, check_health)

    def _arrive_later(self, command: Any) -> None:
        socket, random = self._sock, self._line.random
        if socket is None or random.random() < 0.5:
            return
        data = b"".join(command) if isinstance(command, list) else command

        def arrive() -> None:
            if self._generation == self._line.network.generation:
                socket.sendall(data)

        asyncio.get_running_loop().call_later(random.random() * _LATEST_ARRIVAL_S, arrive)

    async def read_response(self, *args: Any, **settings: Any) -> Any:
        line = self._line
        if line.is_over:
            await line.end()
        if not (line.trouble.is_set() or await self.can_read(0)):
            await self._wait_for_reply(settings.get("timeout"))
        try:
            await line.while_paused()
            if line.is_over:
                await line.end()
            if line.trouble.is_set():
                raise RedisConnectionError("the simulated network is cut")
            self._require_server()
            if not await self.can_read(0):
                if settings.get("timeout") is not None:
                    return None
                raise RedisTimeoutError("no reply")
            await line.travel()
            self._require_server()
            await line.while_paused()
            if line.is_over:
                await line.end()
        except BaseException:
            await self.disconnect(nowait=True)
            raise
        return await super().read_response(*args, **settings)

    async def _wait_for_reply(self, timeout_s: float | None) -> None:
        """Until there is a reply, or there will be none."""
        reading = asyncio.ensure_future(self.can_read(timeout_s))
        failing = asyncio.ensure_future(self._line.trouble.wait())
        try:
            await asyncio.wait([reading, failing], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.disconnect(nowait=True)
            raise
        finally:
            for task in (reading, failing):
                task.cancel()


class HostClock(VirtualClock):
    """The clock of a host that can be paused: it goes on meanwhile, but nobody looks at it."""

    def __init__(self, loop: VirtualLoop, line: Line, offset_ns: int) -> None:
        super().__init__(loop, offset_ns)
        self._line = line

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await self._line.while_paused()

    async def sleep_until(self, deadline_ns: int) -> None:
        await super().sleep_until(deadline_ns)
        await self._line.while_paused()


def line_client(server: fakeredis.FakeServer, line: Line) -> Any:
    """A client of ``server`` over ``line``; untyped as ``fake_client`` is."""
    client = fakeredis.FakeAsyncRedis(server=server, version=(7, 0), connection_class=LineConnection)
    client.connection_pool.connection_kwargs["line"] = line
    return client
