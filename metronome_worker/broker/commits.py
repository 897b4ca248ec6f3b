"""The state of a stage in Redis, and the commit that moves it on."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from metronome_worker.broker.damage import mistyped
from metronome_worker.broker.keys import flow_in
from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import FencedError, OperatorError, SupersededError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.leases import Lease
    from metronome_worker.broker.scripts import Argument

_POSITION, _READ, _OPEN, _NODE = "events:", "read:", "open:", "/"


class StageState(Struct, frozen=True, kw_only=True):
    """What is committed of a stage.

    ``commits``: how many commits were made in this run.  ``positions``: input to the ID up to which all is done.
    ``read``: input to how many entries of its stream were ever done.  ``open``: input to the IDs before its position
    that are not done, left over from when the stage was shared.  ``nodes``: node name to its state.
    ``attempt``: the first entry of a batch that was begun and not finished, ``<input> <ID>``, empty when there is none;
    ``deaths``: how often in a row.
    """

    commits: int = 0
    positions: dict[str, str] = {}
    read: dict[str, int] = {}
    open: dict[str, list[str]] = {}
    nodes: dict[str, Any] = {}
    attempt: str = ""
    deaths: int = 0


class Command(Struct, frozen=True):
    """One Redis command that a commit applies: ``name key args…``; the key must be one of the flow's keys.

    ``cause``: the ID of the entry that it is an effect of; a shared stage applies it where that entry counts.
    """

    name: str
    key: str
    args: tuple[Argument, ...]
    cause: str = ""


class Commands:
    """Commands on their way into a script: the keys that they name, each once, behind the script's own ``names``."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._index: dict[str, int] = {}
        self._types: list[str] = []

    def encode(self, command: Command) -> list[Argument]:
        """The command as the scripts take it: name, index in KEYS, how many arguments, arguments."""
        if command.key not in self._index:
            self.names.append(command.key)
            self._index[command.key] = len(self.names)
            self._types.append(_TYPES[command.name.split(" ")[0]])
        return [command.name, self._index[command.key], len(command.args), *command.args]

    @property
    def types(self) -> str:
        """What each key must hold, in order."""
        return " ".join(self._types)


class SourceBatch(Struct, frozen=True, kw_only=True):
    """Events that a source read: JSON values with metadata; ``cursor`` is where to go on, committed with them."""

    events: tuple[tuple[bytes, bytes | None], ...]
    cursor: dict[str, Any]


class Outcome(Enum):
    """What ``commit_batch.lua``, ``commit_claims.lua`` and ``publish_events.lua`` answer."""

    COMMITTED = "committed"
    FENCED = "fenced"
    LEAVING = "leaving"
    PAUSED = "paused"
    STOPPED = "stopped"
    MOVED = "moved"
    FULL = "full"
    DAMAGED = "damaged"
    GONE = "gone"


#: What the keys hold that commands write to; a commit is refused whole when a key holds something else.
_TYPES = {"XADD": "stream", "XGROUP": "stream", "XACK": "stream", "HSET": "hash", "HDEL": "hash"}


async def load_state(client: Redis, key: str) -> StageState:
    """Read a state hash.  Raises ``OperatorError`` when it is damaged: going on would lose or repeat events."""
    fields: dict[bytes, bytes] = await client.hgetall(key)  # type: ignore[misc]
    if not fields:
        raise _gone(key, "there is no such key")
    return state_of(key, fields)


def state_of(key: str, fields: Mapping[bytes, bytes]) -> StageState:
    """The state that the hash at ``key`` holds.  Raises as ``load_state`` does."""
    try:
        return _parse_state({name.decode(errors="replace"): value for name, value in fields.items()})
    except ValueError as error:
        raise OperatorError(
            "the state of a stage is damaged:",
            value=key,
            reason=str(error),
            advice=f"look at it with `redis-cli HGETALL '{key}'` and put it right; or begin a new run: "
            f"`metronome exit --flow {flow_in(key)}`, then deploy the flow again",
        ) from error


def _parse_state(fields: Mapping[str, bytes]) -> StageState:
    positions, read, open_, nodes = {}, {}, {}, {}
    for name, value in fields.items():
        if name.startswith(_POSITION):
            if not re.fullmatch(rb"\d{1,20}-\d{1,20}", value):
                raise ValueError(f"{name} is {shown(value)}, which is not the ID of an entry")
            positions[name.removeprefix(_POSITION)] = value.decode()
        elif name.startswith(_READ):
            read[name.removeprefix(_READ)] = _whole(name, value)
        elif name.startswith(_OPEN):
            open_[name.removeprefix(_OPEN)] = _ids(name, value)
        elif name.startswith(_NODE) or name == "cursor":
            nodes[name] = _node_state(name, value)
    return StageState(
        commits=_whole("commits", fields.get("commits", b"0")),
        positions=positions,
        read=read,
        open=open_,
        nodes=nodes,
        attempt=fields.get("attempt", b"").decode(errors="replace"),
        deaths=_whole("deaths", fields.get("deaths", b"0")),
    )


def _whole(name: str, value: bytes) -> int:
    if not re.fullmatch(rb"\d{1,18}", value):
        raise ValueError(f"{name} is {shown(value)}, no whole number")
    return int(value)


def _ids(name: str, value: bytes) -> list[str]:
    try:
        return msgspec.json.decode(value, type=list[str])
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{name} is {shown(value)}, no JSON list of entries") from None


def _node_state(name: str, value: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(value, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise ValueError(f"{name} is {shown(value)}, no JSON record") from None


def position_of(state: StageState, source: str, key: str) -> str:
    """Where a stage goes on in a stream.  Raises ``OperatorError`` when that is not known."""
    if source not in state.positions:
        raise _gone(key, f"it holds no {_POSITION}{source}")
    return state.positions[source]


def _gone(key: str, what: str) -> OperatorError:
    # A deployment makes it, with the places to read from.
    return OperatorError(
        "the state of a stage is gone:",
        value=key,
        reason=f"{what}; to read the stream from its beginning would repeat events",
        advice=f"begin a new run: `metronome exit --flow {flow_in(key)}`, then deploy the flow again",
    )


async def stream_ends(client: Redis, keys: FlowKeys, sources: Sequence[str]) -> dict[str, str]:
    """Source to the last ID that was ever given in its stream; 0-0 where there is none."""
    async with client.pipeline(transaction=False) as pipe:
        for source in sources:
            pipe.xinfo_stream(keys.events(source))
        replies: list[Any] = await pipe.execute(raise_on_error=False)
    return {source: _stream_end(reply) for source, reply in zip(sources, replies, strict=True)}


def _stream_end(reply: Any) -> str:
    if isinstance(reply, ResponseError) and "no such key" in str(reply).lower():
        return "0-0"
    if isinstance(reply, Exception):
        raise reply
    end: bytes = reply["last-generated-id"]
    return end.decode()


def state_fields(positions: Mapping[str, str], read: Mapping[str, int], nodes: Mapping[str, Any]) -> list[str | bytes]:
    """What changes in the hash: field, value, field, value…  Values are readable for people."""
    fields: list[str | bytes] = []
    for source, position in positions.items():
        fields += [_POSITION + source, position]
    for source, count in read.items():
        fields += [_READ + source, str(count)]
    for node, state in nodes.items():
        fields += [node, msgspec.json.encode(state)]
    return fields


def open_command(state_key: str, stage_input: str, ids: Sequence[str]) -> Command:
    """What a commit must hold so that only ``ids`` of an input are left open."""
    field = _OPEN + stage_input
    if ids:
        return Command("HSET", state_key, (field, msgspec.json.encode(ids)))
    return Command("HDEL", state_key, (field,))


async def commit_batch(
    client: Redis,
    keys: FlowKeys,
    lease: Lease,
    token: str,
    commits: int,
    fields: Sequence[str | bytes],
    commands: Sequence[Command],
    *,
    is_drained: bool = False,
) -> int:
    """Apply fields and commands whole, once (``commit_batch.lua``); returns the new number of commits.

    ``token`` is ``FlowRecord.token``; ``commits`` the number that the owner knows of.  ``is_drained``: the commands say
    that the stage has drained, which is refused unless the flow leaves.  Safe to repeat as it is.
    Raises ``FencedError`` when the stage is another's now, ``SupersededError`` when the run or revision is over,
    ``OperatorError`` when a key holds what it should not.
    """
    encoder = Commands([keys.lease(lease.name), keys.flow, keys.state(lease.name)])
    args = [arg for command in commands for arg in encoder.encode(command)]
    head: list[Argument] = [lease.value, token, commits, encoder.types, int(is_drained), len(fields) // 2]
    reply = await run_script(client, "commit_batch", encoder.names, [*head, *fields, *args])
    return settled(reply, keys.state(lease.name))


def settled(reply: list[bytes], state_key: str) -> int:
    """The number that an accepted commit answers.  Raises as ``commit_batch`` does."""
    match Outcome(reply[0].decode()):
        case Outcome.COMMITTED:
            return int(reply[1])
        case Outcome.DAMAGED:
            raise mistyped(reply[1].decode(), reply[2].decode(), reply[3].decode())
        case Outcome.STOPPED:
            raise SupersededError(f"the run that {state_key} belongs to is over")
        case outcome:
            raise FencedError(f"a commit to {state_key} was refused ({outcome.value})")


class Published(Struct, frozen=True):
    """``outcome``: committed; full (the stream is at its cap) or paused: try again later; leaving: no more."""

    outcome: Outcome
    commits: int


async def publish_events(
    client: Redis,
    keys: FlowKeys,
    lease: Lease,
    token: str,
    commits: int,
    source: str,
    batch: SourceBatch,
    cap: int,
) -> Published:
    """Publish what a source read, with its cursor (``publish_events.lua``).  Safe to repeat as it is.

    Raises ``FencedError`` when the source is another's now, ``SupersededError`` when the run or revision is over.
    """
    names = [keys.lease(lease.name), keys.flow, keys.source_state(source), keys.events(source)]
    args: list[Argument] = [lease.value, token, commits, msgspec.json.encode(batch.cursor), cap]
    for data, meta in batch.events:
        args += [data, meta or b""]
    reply = await run_script(client, "publish_events", names, args)
    outcome = Outcome(reply[0].decode())
    if outcome in (Outcome.FULL, Outcome.PAUSED, Outcome.LEAVING):
        return Published(outcome, commits)
    return Published(outcome, settled(reply, names[2]))


async def trim_stream(client: Redis, keys: FlowKeys, lease: Lease, source: str, keep: int, keep_ms: int) -> int:
    """Remove committed entries beyond the tail that people may want to see (``trim_stream.lua``)."""
    names = [keys.lease(lease.name), keys.state(lease.name), keys.events(source)]
    removed: int = await run_script(client, "trim_stream", names, [lease.value, source, keep, keep_ms])
    return removed


async def pardon_attempt(client: Redis, state_key: str, attempt: str) -> None:
    """Take back that an attempt at a batch counts as a death (``pardon_attempt.lua``)."""
    await run_script(client, "pardon_attempt", [state_key], [attempt])
