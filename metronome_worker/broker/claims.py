"""Entries of a shared stage: given out by a consumer group, done by whoever is first, taken over from who has gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.broker.commits import Commands, Outcome, settled
from metronome_worker.broker.keys import GROUP, flow_in
from metronome_worker.broker.scripts import run_script
from metronome_worker.errors import OperatorError, SupersededError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.commits import Command
    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.broker.scripts import Argument


class Claim(Struct, frozen=True, kw_only=True):
    """One entry that was taken over: ``deliveries`` is how often it was given to somebody, this time included."""

    entry_id: bytes
    fields: list[bytes]
    deliveries: int


async def commit_claims(
    client: Redis,
    keys: FlowKeys,
    stage: str,
    token: str,
    stage_input: str,
    effects: Mapping[str, Sequence[Command]],
) -> int:
    """Acknowledge entries, and apply the effects of those that nobody has done before (``commit_claims.lua``).

    ``effects``: the ID of each entry to what it does, in order; returns how many counted.  Safe to repeat as it is.
    Raises ``SupersededError`` when the run or revision is over, ``OperatorError`` when a key holds what it should not.
    """
    encoder = Commands([keys.flow, keys.state(stage), keys.events(stage_input)])
    idle = [entry_id for entry_id, commands in effects.items() if not commands]
    args: list[Argument] = []
    for entry_id, commands in effects.items():
        if commands:
            args += [entry_id, len(commands), *(arg for command in commands for arg in encoder.encode(command))]
    head: list[Argument] = [token, GROUP, stage_input, encoder.types, len(idle), *idle]
    reply = await run_script(client, "commit_claims", encoder.names, [*head, *args])
    _check_group(reply, keys.events(stage_input))
    return settled(reply, keys.state(stage))


async def has_idle(client: Redis, key: str, idle_ms: int) -> bool:
    """Whether somebody was given an entry and nobody has touched it for ``idle_ms``."""
    # The name as bytes is one that the client has no parser for.
    found = await client.execute_command(b"XPENDING", key, GROUP, "IDLE", idle_ms, "-", "+", 1)  # type: ignore[no-untyped-call]
    return bool(found)


async def claim_idle(client: Redis, key: str, consumer: str, idle_ms: int, cursor: str) -> tuple[str, Claim | None]:
    """Take over one entry that nobody has touched for ``idle_ms`` (``claim_idle.lua``); with where to look on."""
    reply = await run_script(client, "claim_idle", [key], [GROUP, consumer, idle_ms, cursor])
    following = reply[0].decode()
    if len(reply) == 1:
        return following, None
    return following, Claim(entry_id=reply[1], fields=reply[2], deliveries=int(reply[3]))


async def drain_claims(client: Redis, keys: FlowKeys, stage: str, token: str, inputs: Sequence[str]) -> bool:
    """Say that a shared stage has drained, if it has (``drain_claims.lua``).

    Raises ``SupersededError`` when the run is over.
    """
    names = [keys.flow, keys.state(stage), keys.exit, *(keys.events(name) for name in inputs)]
    reply = await run_script(client, "drain_claims", names, [token, GROUP, stage, *inputs])
    _check_group(reply, keys.state(stage))
    if reply[0] == b"stopped":
        raise SupersededError(f"the run that {keys.state(stage)} belongs to is over")
    return bool(reply[0] == b"drained")


async def leave_group(client: Redis, key: str, consumer: str) -> None:
    """Remove a consumer that has nothing in hand (``leave_group.lua``)."""
    await run_script(client, "leave_group", [key], [GROUP, consumer, 0])


async def forget_consumers(client: Redis, key: str, idle_ms: int) -> None:
    """Remove every consumer that has nothing in hand and was idle so long: those that never said goodbye."""
    await run_script(client, "leave_group", [key], [GROUP, "", idle_ms])


async def renew_group(client: Redis, keys: FlowKeys, stage: str, token: str, stage_input: str) -> None:
    """Make the group again on a stream that was put aside or deleted, and so begins anew (``renew_group.lua``).

    Raises ``SupersededError`` when the run or revision is over, ``OperatorError`` when the stream goes on and only its
    group is gone.
    """
    names = [keys.flow, keys.state(stage), keys.events(stage_input)]
    reply = await run_script(client, "renew_group", names, [token, GROUP, stage_input])
    _check_group(reply, keys.events(stage_input))
    if reply[0] == b"stopped":
        raise SupersededError(f"the run that {keys.state(stage)} belongs to is over")


async def trim_claims(client: Redis, keys: FlowKeys, stage: str, stage_input: str, keep: int, keep_ms: int) -> int:
    """Remove entries that are done beyond the tail that people may want to see (``trim_claims.lua``)."""
    names = [keys.state(stage), keys.events(stage_input)]
    removed: int = await run_script(client, "trim_claims", names, [GROUP, stage_input, keep, keep_ms])
    return removed


def _check_group(reply: Sequence[bytes], key: str) -> None:
    if reply[0] == Outcome.GONE.value.encode():
        raise OperatorError(
            "the consumer group of a shared stage is gone:",
            value=f"{GROUP} of {key}",
            reason="somebody has destroyed it; which entries are done is not known without it",
            advice=f"begin a new run: `metronome exit --flow {flow_in(key)}`, then deploy the flow again",
        )
