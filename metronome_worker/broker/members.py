"""Members: the live processes of a flow, as they say themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.scripts import run_script

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys

#: How often a process says that it is alive, and how long it counts as alive after that.
HEARTBEAT_MS = 1_000
MEMBER_TTL_MS = 3_500


class Member(Struct, frozen=True, kw_only=True):
    """A process: ``role`` is ticker, worker or run; ``holds``: the leases of the flow that it has, and the shared
    stages that it works on.
    """

    role: str
    host: str
    pid: int
    since: str
    holds: tuple[str, ...] = ()


async def announce(client: Redis, keys: FlowKeys, name: str, member: Member | None) -> dict[str, Member]:
    """Say that a process is alive (None: goodbye), and hear who is (``announce_member.lua``).

    A card that cannot be read is another version's: it counts as alive, under its name alone.
    """
    card = msgspec.json.encode(member) if member is not None else b""
    reply = await run_script(client, "announce_member", [keys.members], [name, card, MEMBER_TTL_MS])
    return {found.decode(): _member(card) for found, card in zip(reply[::2], reply[1::2], strict=True)}


def _member(card: bytes) -> Member:
    try:
        return msgspec.json.decode(card, type=Member)
    except msgspec.DecodeError:
        return Member(role="unknown", host="", pid=0, since="")
