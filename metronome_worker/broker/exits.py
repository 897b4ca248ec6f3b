"""The exit stream: requests, the barrier, who has drained, the end.

``ExitState`` is the fold of the stream's entries, pure; ``ExitWatch`` follows the stream and wakes whoever waits.
An entry is known by its first field: ``exit`` (a request), ``barrier``, ``drained`` or ``end``.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import FencedError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.leases import Lease

#: No delay is longer: a hundred years.
LONGEST_DELAY_MS = 36_525 * 86_400_000

#: How long a read waits on the server, ms; well below every socket timeout.
BLOCK_MS = 2_000

_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


class ExitRequest(Struct, frozen=True, kw_only=True):
    """``at_ms``: when it was made, by the server's clock; ``delay_ms`` is waited before anything stops."""

    at_ms: int
    code: int
    delay_ms: int = 0
    is_graceful: bool = True


class ExitState(Struct, frozen=True, kw_only=True):
    """How far a run has come in leaving.  The first request counts; ``barrier`` maps input to last ID."""

    request: ExitRequest | None = None
    barrier: dict[str, str] | None = None
    barrier_ms: int = 0
    drained: frozenset[str] = frozenset()
    end: int | None = None


def fold(state: ExitState, entry_id: str, fields: Mapping[str, str]) -> ExitState:
    """The state after one more entry.  What does not make sense is passed over: anybody may write here.

    Only a leader writes a barrier and an end: they carry its epoch.
    """
    at_ms = int(entry_id.split("-", maxsplit=1)[0])
    if "exit" in fields and state.request is None:
        return replace(state, request=_request(at_ms, fields))
    if "barrier" in fields and "epoch" in fields and state.barrier is None:
        try:
            barrier = msgspec.json.decode(fields["barrier"], type=dict[str, str])
        except msgspec.DecodeError:
            return state
        if not all(_ENTRY_ID.fullmatch(last) for last in barrier.values()):
            return state
        return replace(state, barrier=barrier, barrier_ms=at_ms)
    if "drained" in fields:
        return replace(state, drained=state.drained | {fields["drained"]})
    if "end" in fields and "epoch" in fields and state.end is None:
        return replace(state, end=_status(_whole(fields["end"], 0)))
    return state


def _request(at_ms: int, fields: Mapping[str, str]) -> ExitRequest:
    return ExitRequest(
        at_ms=at_ms,
        code=_status(_whole(fields["exit"], 1)),
        delay_ms=min(max(0, _whole(fields.get("delay", "0"), 0)), LONGEST_DELAY_MS),
        is_graceful=fields.get("graceful", "true") != "false",
    )


def _status(code: int) -> int:
    """What a process can leave with; the operating system would cut 256 down to 0 and report success."""
    return code if 0 <= code <= 255 else 1


def _whole(text: str, otherwise: int) -> int:
    try:
        return int(text)
    except ValueError:
        return otherwise


class ExitWatch:
    """Follows one flow's exit stream from where the run began."""

    def __init__(self, client: Redis, keys: FlowKeys, exit_from: str) -> None:
        self._client, self._keys, self._last = client, keys, exit_from
        self._changed = asyncio.Condition()
        self.state = ExitState()
        #: How many entries were seen; compare to know whether there is news.
        self.seen = 0

    async def run(self) -> None:
        """Follow until the end is seen.  Raises what the client raises; run it again to go on."""
        while self.state.end is None:
            await self.poll(BLOCK_MS)

    async def poll(self, block_ms: int | None = None) -> None:
        """Take in what is there, waiting at most ``block_ms`` for the first entry."""
        reply = await self._client.xread({self._keys.exit: self._last}, count=100, block=block_ms)
        entries: Sequence[tuple[bytes, dict[bytes, bytes]]] = reply[0][1] if reply else ()
        for entry_id, fields in entries:
            self._last = entry_id.decode()
            texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
            self.state = fold(self.state, self._last, texts)
            self.seen += 1
        if entries:
            async with self._changed:
                self._changed.notify_all()

    async def news(self, since: int) -> None:
        """Wait until more than ``since`` entries are seen."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.seen > since)

    async def barrier(self) -> dict[str, str]:
        """Wait for the barrier."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.state.barrier is not None)
        assert self.state.barrier is not None
        return self.state.barrier


async def write_barrier(
    client: Redis, keys: FlowKeys, lease: Lease, token: str, code: int, inputs: Sequence[str]
) -> None:
    """Stop all sources and record where the stages' inputs end (``write_barrier.lua``).

    Raises ``FencedError`` when another leads, ``SupersededError`` when the run is over.
    """
    names = [keys.lease(lease.name), keys.flow, keys.exit, *(keys.events(name) for name in inputs)]
    reply = await run_script(client, "write_barrier", names, [lease.value, token, code, *inputs])
    _accepted(reply, "barrier")


async def write_end(client: Redis, keys: FlowKeys, lease: Lease, token: str, reason: str) -> None:
    """End the run (``write_end.lua``).  Raises as ``write_barrier`` does."""
    names = [keys.lease(lease.name), keys.flow, keys.exit]
    reply = await run_script(client, "write_end", names, [lease.value, token, reason])
    _accepted(reply, "end")


def _accepted(reply: Sequence[bytes], what: str) -> None:
    match reply[0]:
        case b"written":
            return
        case b"fenced":
            raise FencedError(f"the {what} is for another to write")
        case _:
            raise SupersededError(f"the {what} is of a run that is over")
