"""Virtual time: an event loop that never waits, clocks that show its time, and a fake Redis that goes by one of them.

    async def simulation() -> None:
        clock = VirtualClock(virtual_loop())
        with fake_server(clock) as server:
            client = fake_client(server)
            ...
    run_virtual(simulation)

Whenever no task can run, time jumps to the next timer.  Hours take milliseconds, and a run with the same seed takes
the same steps: nothing outside the loop — no socket, no thread, no real clock — has a say.
"""

from __future__ import annotations

import asyncio
import importlib
import selectors
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple
from unittest import mock

import fakeredis
from fakeredis.commands_mixins.streams_mixin import StreamsCommandsMixin

from metronome_worker.clock import NS_PER_S
from tests.harness.fake_server import RememberingServer, read_group

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from contextvars import Context

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: What a server's clock shows when its ``VirtualClock`` shows 0: 2023-11-14T22:13:20Z.
EPOCH_S: Final = 1_700_000_000

#: Where fakeredis looks at the time.  Each holds the module ``time`` under that name.
_TIME_READERS: Final = (
    "fakeredis._helpers",
    "fakeredis._core._server",
    "fakeredis._socket._base",
    "fakeredis.commands_mixins.connection_mixin",
    "fakeredis.commands_mixins.server_mixin",
    "fakeredis.model._client_info",
    "fakeredis.model._stream",
)


class StuckError(Exception):
    """Every task waits for something that nothing will bring about."""


class _JumpingSelector(selectors.BaseSelector):
    """Reports no event ever, and instead of waiting moves the time."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._keys: dict[int, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise StuckError("no task can run and no timer is set: the simulation would wait forever")
        if timeout > 0:
            self.now_ns += max(1, round(timeout * NS_PER_S))
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Only the loop itself registers something, the pipe that wakes it; it is never needed."""
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return self._keys[fd]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class _NumberedTask(asyncio.Task[Any]):
    """Its hash is its number, not its address: a group cancels its tasks, a set of them, in an order that repeats."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], number: int, **settings: Any) -> None:
        self._number = number
        super().__init__(coroutine, **settings)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


def _numbered_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **settings: Any) -> asyncio.Task[Any]:
    assert isinstance(loop, VirtualLoop)
    loop.tasks_made += 1
    return _NumberedTask(coroutine, loop.tasks_made, loop=loop, **settings)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` is virtual, in seconds from 0, and that works in one thread only."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self.tasks_made = 0
        super().__init__(self._jumping)
        self._clock_resolution = 1 / NS_PER_S
        self.set_task_factory(_numbered_task)

    def now_ns(self) -> int:
        return self._jumping.now_ns

    def time(self) -> float:
        return self._jumping.now_ns / NS_PER_S

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """There are no other threads: no pipe has to wake the loop."""
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Done at once, in no virtual time: a thread would come back at a moment that no seed decides."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  whatever it is belongs to whoever awaits the future
            future.set_exception(error)
        return future


def virtual_loop() -> VirtualLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop), "call this inside run_virtual"
    return loop


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run ``main()`` on a loop of its own under virtual time.  What is still running at its end is cancelled."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


class VirtualClock:
    """A host's clock (``metronome_worker.clock.Clock``) on virtual time; ``offset_ns`` apart from the loop's own."""

    def __init__(self, loop: VirtualLoop, offset_ns: int = 0) -> None:
        self._loop, self._offset_ns = loop, offset_ns

    def step(self, ns: int) -> None:
        """Show another time from now on, as a clock that somebody sets."""
        self._offset_ns += ns

    def now_ns(self) -> int:
        return self._loop.now_ns() + self._offset_ns

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_until(self, deadline_ns: int) -> None:
        """Exact to the nanosecond, up to what a float of seconds can say."""
        while (left_ns := deadline_ns - self.now_ns()) > 0:  # noqa: ASYNC110  it is time that is waited for
            await asyncio.sleep(left_ns / NS_PER_S)


@contextmanager
def fake_server(clock: VirtualClock) -> Iterator[fakeredis.FakeServer]:
    """A fakeredis server whose TIME, expiry, stream IDs and idle times follow ``clock``.  One at a time.

    Blocking commands wait on the loop's timers and so follow it anyway.  Inside the block every fakeredis server
    goes by this clock: the module ``time`` is replaced where fakeredis looks at it, and nowhere else.
    """

    def now_s() -> float:
        return EPOCH_S + clock.now_ns() / NS_PER_S

    shown = SimpleNamespace(**(vars(time) | {"time": now_s, "monotonic": now_s}))
    patches = [mock.patch.object(importlib.import_module(name), "time", shown) for name in _TIME_READERS]
    patches.append(mock.patch.object(StreamsCommandsMixin, "_xreadgroup", read_group))
    for patch in patches:
        patch.start()
    try:
        yield RememberingServer(version=(7, 0))
    finally:
        for patch in reversed(patches):
            patch.stop()


def fake_client(server: fakeredis.FakeServer, **settings: Any) -> Any:
    """A ``FakeAsyncRedis`` of ``server`` with connections of its own.  Each simulated component needs one.

    Untyped: redis-py's types do not tell the replies of asyncio clients from those of blocking ones.
    """
    return fakeredis.FakeAsyncRedis(server=server, version=(7, 0), **settings)
