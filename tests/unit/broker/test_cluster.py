"""Redirections: where the client goes next, and when it gives up.  The nodes are stand-ins."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from metronome_worker.broker.addresses import parse_url
from metronome_worker.broker.connection import open_client
from metronome_worker.broker.outages import is_outage
from tests.harness.stand_in import stand_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "metronome:{main}:epoch"
SLOT = key_slot(KEY.encode())


class Node:
    """Owns all slots, as it says, under ``host``; answers GET with ``answer``, or an error that ``answer`` is."""

    def __init__(self, host: bytes = b"127.0.0.1") -> None:
        self.port, self.host, self.answer, self.asked, self.mapped = 0, host, b"+1\r\n", 0, 0

    def __call__(self, command: list[bytes]) -> bytes:
        match command[0].upper():
            case b"GET":
                self.asked += 1
                return self.answer
            case b"CLUSTER":
                self.mapped += 1
                node = b"*3\r\n$%d\r\n%s\r\n:%d\r\n$2\r\nid\r\n" % (len(self.host), self.host, self.port)
                return b"*1\r\n*3\r\n:0\r\n:16383\r\n" + node
            case b"PING":
                return b"+PONG\r\n"
            case _:
                return b"+OK\r\n"

    def moves_to(self, port: int, host: str = "127.0.0.1", word: str = "MOVED") -> None:
        self.answer = f"-{word} {SLOT} {host}:{port}\r\n".encode()


@asynccontextmanager
async def nodes(first: Node, second: Node) -> AsyncIterator[str]:
    async with stand_in(first) as url, stand_in(second) as other:
        [place], [second_place] = parse_url(url).endpoints, parse_url(other).endpoints
        first.port, second.port = place.port, second_place.port
        yield f"redis+cluster://{place}"


@pytest.mark.parametrize("host", ["127.0.0.1", ""], ids=["named", "not named"])
async def test_slot_that_has_moved_is_followed_and_remembered(host: str) -> None:
    old, new = Node(), Node()
    async with nodes(old, new) as url, open_client(url) as client:
        old.moves_to(new.port, host)
        assert await client.get(KEY) == b"1"
        assert await client.get(KEY) == b"1"
        assert (old.asked, new.asked, old.mapped) == (1, 2, 1)


async def test_nodes_that_send_each_other_on_are_an_outage() -> None:
    one, other = Node(), Node()
    async with nodes(one, other) as url, open_client(url) as client:
        one.moves_to(other.port)
        other.moves_to(one.port)
        with pytest.raises(ResponseError) as caught:
            await client.get(KEY)
        assert is_outage(caught.value)
        assert one.asked + other.asked < 10


async def test_slot_on_its_way_is_an_outage_and_the_cluster_is_asked_anew() -> None:
    node, other = Node(), Node()
    async with nodes(node, other) as url, open_client(url) as client:
        node.moves_to(other.port, word="ASK")
        with pytest.raises(ResponseError) as caught:
            await client.get(KEY)
        assert is_outage(caught.value)
        assert other.asked == 0
        node.answer = b"+1\r\n"
        assert await client.get(KEY) == b"1"
        assert node.mapped == 2


async def test_node_that_does_not_know_its_own_name_is_reached_under_the_one_that_we_have() -> None:
    node = Node(host=b"")
    async with nodes(node, Node()) as url, open_client(url) as client:
        assert await client.get(KEY) == b"1"
