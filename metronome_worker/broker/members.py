"""Members: the live processes of a flow, as they say themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from metronome_worker.broker.rounds import Rounds

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


async def announce(
    client: Redis, keys: FlowKeys, name: str, member: Member | None, rounds: Rounds | None = None
) -> dict[str, Member]:
    """Say that a process is alive (None: goodbye), and hear who is (``announce_member.lua``).

    ``rounds``: with what is said in other flows at the same time.

    A card that cannot be read is another version's: it counts as alive, under its name alone.
    """
    card = msgspec.json.encode(member) if member is not None else b""
    reply = await (rounds or Rounds()).run_script(
        client, "announce_member", [keys.members], [name, card, MEMBER_TTL_MS]
    )
    return {found.decode(): _member(card) for found, card in zip(reply[::2], reply[1::2], strict=True)}


class Sighting(Struct, frozen=True):
    """A member as it stands in the hash: when it was last heard of (ms, server's clock), and who it is."""

    at_ms: int
    member: Member

    def is_alive(self, now_ms: int) -> bool:
        """As ``announce_member.lua`` decides; what it has not removed yet may be long dead."""
        return abs(now_ms - self.at_ms) <= MEMBER_TTL_MS


def sighting(value: bytes) -> Sighting | None:
    """What a field of the hash says; None for what is not ours, or of another version."""
    at, _, card = value.partition(b" ")
    try:
        return Sighting(int(at), msgspec.json.decode(card, type=Member))
    except (ValueError, msgspec.DecodeError):
        return None


def _member(card: bytes) -> Member:
    try:
        return msgspec.json.decode(card, type=Member)
    except msgspec.DecodeError:
        return Member(role="unknown", host="", pid=0, since="")
