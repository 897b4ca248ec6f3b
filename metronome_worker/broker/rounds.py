"""Rounds: what the tasks of a process ask of a server at about the same time goes out in one round trip.

A process of many flows renews leases all the time, asks for those of others, says that it is there, and looks at what
is deployed.  Each of that alone costs more to send than to do.  What goes out together comes back together, so whoever
asks again after the same time stays together from then on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import ResponseError

from metronome_worker.broker.scripts import run_script, script

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.scripts import Argument

#: As much is asked in one round trip: the server does nothing else meanwhile.
_AT_ONCE: Final = 50


class _Call(Struct, frozen=True, eq=False):
    """``alone``: the same, as it is asked when nobody else does."""

    command: Sequence[Argument]
    alone: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]


class Rounds:
    """Those that one process gathers now: for each client one of every command or script."""

    def __init__(self) -> None:
        self._gathering: dict[tuple[Redis, str], list[_Call]] = {}
        self._senders: set[asyncio.Future[None]] = set()

    async def run_script(
        self, client: Redis, name: str, keys: Sequence[str], args: Sequence[Argument], wait_s: float = 0.0
    ) -> Any:
        """As ``scripts.run_script``, up to ``wait_s`` later.  A call that is cancelled by then is not made."""
        command = ("EVALSHA", script(name).sha, len(keys), *keys, *args)
        return await self._ask(client, name, command, lambda: run_script(client, name, keys, args), wait_s)

    async def execute(self, client: Redis, *command: Argument, wait_s: float = 0.0) -> Any:
        """As ``execute_command``, up to ``wait_s`` later, of a command that may be sent twice."""
        return await self._ask(client, str(command[0]), command, lambda: _execute(client, command), wait_s)

    async def _ask(
        self, client: Redis, kind: str, command: Sequence[Argument], alone: Callable[[], Awaitable[Any]], wait_s: float
    ) -> Any:
        call = _Call(command, alone, asyncio.get_running_loop().create_future())
        waiting = self._gathering.get((client, kind))
        if waiting is None:
            waiting = self._gathering[client, kind] = []
            # By nobody's task: whoever asks first may be cancelled, and the others may not suffer from that.
            sender = asyncio.ensure_future(self._send(client, kind, wait_s))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        waiting.append(call)
        return await call.answer

    async def _send(self, client: Redis, kind: str, wait_s: float) -> None:
        """Wait for others, then ask; never fails, as every failure is an answer."""
        try:
            await asyncio.sleep(wait_s)
        finally:
            gathered = self._gathering.pop((client, kind))
        calls = [call for call in gathered if not call.answer.done()]
        for at in range(0, len(calls), _AT_ONCE):
            await _answer(client, calls[at : at + _AT_ONCE])


async def _execute(client: Redis, command: Sequence[Argument]) -> Any:
    return await client.execute_command(*command)  # type: ignore[no-untyped-call]


async def _answer(client: Redis, calls: Sequence[_Call]) -> None:
    try:
        replies = await _replies(client, calls)
    except asyncio.CancelledError:
        for call in calls:
            call.answer.cancel()
        raise
    except BaseException as error:  # noqa: BLE001  whatever it is, it is for those who wait
        replies = [error] * len(calls)
    for call, reply in zip(calls, replies, strict=True):
        if call.answer.done():
            continue
        if isinstance(reply, BaseException):
            call.answer.set_exception(reply)
        else:
            call.answer.set_result(reply)


async def _replies(client: Redis, calls: Sequence[_Call]) -> list[Any]:
    """To each call what was replied, or the error that is the reply."""
    if len(calls) == 1:
        return [await calls[0].alone()]
    pipe = client.pipeline(transaction=False)
    for call in calls:
        pipe.execute_command(*call.command)
    replies = await pipe.execute(raise_on_error=False)
    for at, call in enumerate(calls):
        # A script that the server does not know, a slot that has moved: alone there is a way.
        if isinstance(replies[at], ResponseError):
            try:
                replies[at] = await call.alone()
            except ResponseError as error:
                replies[at] = error
    return replies
