"""Redis Cluster: many primaries, each with its share of the slots; a flow lives in one slot, so on one of them.

``flow_client`` gives a client whose every command goes to the owner of a flow's slot: to it that is one server, with
one clock, with transactions and publish/subscribe.  ``ClusterClient`` itself finds the slot in each command; it is for
what concerns many flows.

redis-py's own client for clusters is not used: when one node does not answer, it closes the connections to all of them,
so the flows of all nodes would halt with one; it has neither transactions nor publish/subscribe, and sends ASKING and
what follows it over different connections.

A slot that moves is waited for: what is answered with ASK or TRYAGAIN is an outage of this flow until the move is done.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.addresses import Endpoint
from metronome_worker.broker.outages import is_outage
from metronome_worker.broker.routing import Nodes, RoutedPool, first_answer, home_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.broker.keys import FlowKeys

_SLOTS: Final = 16_384
_MOVED: Final = re.compile(r"MOVED (\d+) (.*):(\d+)")
#: How often a command is sent elsewhere before it counts as an outage.
_MOST_REDIRECTIONS: Final = 4


class ClusterDirectory:
    """Which node owns which slot, as the cluster told when it was asked last, and as nodes said since.

    Whoever asks for a slot whose owner is well never waits for a node that is not.
    """

    def __init__(self, seeds: Sequence[Endpoint], nodes: Nodes) -> None:
        self._nodes = nodes
        #: Whom to ask, in this order: a node that something went wrong with comes last.
        self._turns = list(dict.fromkeys(seeds))
        self._owners: list[Endpoint | None] = [None] * _SLOTS
        #: Owners that something went wrong with since the cluster was asked.
        self._doubted: set[Endpoint | None] = {None}
        self._asking = asyncio.Lock()

    async def locate(self, slot: int) -> Endpoint:
        if self._owners[slot] in self._doubted:
            async with self._asking:
                if self._owners[slot] in self._doubted:
                    await self._ask()
        owner = self._owners[slot]
        if owner is None:
            self._doubted.add(None)
            raise RedisConnectionError(f"no node of the cluster owns slot {slot}")
        return owner

    async def primaries(self) -> list[Endpoint]:
        """All nodes that own slots, asked for now."""
        async with self._asking:
            await self._ask()
        return sorted({owner for owner in self._owners if owner is not None})

    def heed(self, error: RedisError, node: Endpoint) -> None:
        moved = _MOVED.match(str(error)) if isinstance(error, ResponseError) else None
        if moved is not None:
            # A node that does not know under which name it is reached leaves that out.
            self._owners[int(moved[1])] = Endpoint(moved[2] or node.host, int(moved[3]))
        elif is_outage(error):
            self._doubted.add(node)
            self._ask_last(node)

    async def aclose(self) -> None:
        """Nothing to do: the nodes themselves are asked."""

    def _ask_last(self, node: Endpoint) -> None:
        if node in self._turns:
            self._turns.remove(node)
            self._turns.append(node)

    async def _ask(self) -> None:
        told_by, ranges = await first_answer(tuple(self._turns), self._ask_one, "no node of the cluster can be asked")
        owners: list[Endpoint | None] = [None] * _SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            owner = Endpoint((host or b"").decode() or told_by.host, int(port))
            owners[first : last + 1] = [owner] * (last + 1 - first)
        self._owners = owners
        self._doubted.clear()
        known = {owner for owner in owners if owner is not None}
        self._turns += sorted(known.difference(self._turns))
        await self._nodes.keep_only(known)

    async def _ask_one(self, node: Endpoint) -> Any:
        try:
            return await self._nodes.ask(node, "CLUSTER", "SLOTS")
        except RedisError:
            self._ask_last(node)
            raise


class ClusterClient(Redis):
    """Sends each command to the owner of its key's slot.  ``flow_client``: for what has no key, or is more than one."""

    def __init__(self, nodes: Nodes, directory: ClusterDirectory) -> None:
        super().__init__(connection_pool=RoutedPool(nodes, directory))
        self.auto_close_connection_pool = True
        self._nodes, self._directory = nodes, directory
        self._clients: dict[int, Redis] = {}

    def of_key(self, key: str | bytes) -> Redis:
        """A client of whatever node owns the slot of ``key``; closed with this one."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        if slot not in self._clients:
            self._clients[slot] = _SlotClient(connection_pool=RoutedPool(self._nodes, self._directory, slot))
        return self._clients[slot]

    async def primaries(self) -> list[tuple[Endpoint, Redis]]:
        """Each node that owns slots, and a client of that very node; closed with this one."""
        return [(node, Redis(connection_pool=self._nodes.pool(node))) for node in await self._directory.primaries()]

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await self.of_key(_key_of(args)).execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, *_: Any, **__: Any) -> Any:
        raise _no_one_server("a pipeline")

    def pubsub(self, **_: Any) -> Any:
        raise _no_one_server("a subscription")


class _SlotClient(Redis):
    """Goes where the slot went.  A command that is answered with MOVED was not done, so it may be sent again."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        for _ in range(_MOST_REDIRECTIONS):
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except ResponseError as error:
                if not _MOVED.match(str(error)):
                    raise
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]


def _key_of(command: Sequence[Any]) -> str | bytes:
    """The first key of a command.  Pure."""
    name = command[0].encode() if isinstance(command[0], str) else command[0]
    match name.upper().split():
        case [b"EVAL" | b"EVALSHA"]:
            key = command[3] if len(command) > 3 else None
        case [b"XREAD" | b"XREADGROUP"]:
            words = [word.upper() if isinstance(word, (str, bytes)) else word for word in command]
            key = command[next(at for at, word in enumerate(words) if word in ("STREAMS", b"STREAMS")) + 1]
        case [b"PING" | b"TIME" | b"INFO" | b"PUBLISH" | b"SCRIPT" | b"CONFIG" | b"CLIENT", *_]:
            key = None
        case _:
            key = command[1] if len(command) > 1 else None
    if not isinstance(key, (str, bytes)):
        raise _no_one_server(name.decode())
    return key


def _no_one_server(what: str) -> TypeError:
    return TypeError(f"{what} is for one server of the cluster: ask flow_client() for that of a flow")


def flow_client(client: Redis, keys: FlowKeys) -> Redis:
    """A client of the one server that holds a flow; closed with ``client``, which it is outside of a cluster."""
    return client.of_key(keys.flow) if isinstance(client, ClusterClient) else client


async def by_server(client: Redis, flows: Sequence[FlowKeys]) -> list[tuple[Redis, list[FlowKeys]]]:
    """Flows by the server that holds them now, and a client of each server.  A flow that nobody holds is alone."""
    if not isinstance(client, ClusterClient):
        return [(client, list(flows))]
    groups: dict[object, tuple[Redis, list[FlowKeys]]] = {}
    for keys in flows:
        own = flow_client(client, keys)
        try:
            home: object = await home_of(own.connection_pool)
        except RedisError:
            home = own
        groups.setdefault(home, (own, []))[1].append(keys)
    return list(groups.values())
