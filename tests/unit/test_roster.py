"""Which flows a process follows, and what it leaves with."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog
from msgspec.structs import replace
from redis.crc import key_slot

from metronome_worker.assembly import Workshop
from metronome_worker.broker.addresses import parse_url
from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.flows import Status
from metronome_worker.broker.keys import FlowKeys, flow_index
from metronome_worker.clock import NS_PER_S, SystemClock
from metronome_worker.host import Host
from metronome_worker.roster import LATE_START_MS, MOST_PAUSES, Roster, Sighting, View, follow_all, keep_up, look
from tests.harness.stand_in import bulk, stand_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

RUNNING = Sighting(status=Status.RUNNING, run=1, code=0)


def ended(code: int, age_ms: int = 0) -> Sighting:
    return Sighting(status=Status.ENDED, run=1, code=code, age_ms=age_ms)


def test_every_flow_that_runs_or_leaves_is_followed_once() -> None:
    roster = Roster()
    leaving = Sighting(status=Status.LEAVING, run=1, code=3)
    assert roster.decide(View({"a": RUNNING, "b": leaving})) == ["a", "b"]
    assert roster.decide(View({"a": RUNNING, "b": leaving})) == []
    assert roster.code is None


def test_the_largest_code_is_left_with_once_all_have_ended() -> None:
    roster = Roster()
    roster.decide(View({"a": RUNNING, "b": RUNNING}))
    roster.ended("a", 7)
    assert roster.code is None
    roster.ended("b", 2)
    assert roster.code == 7


def test_a_late_starter_takes_the_code_of_what_has_just_ended() -> None:
    roster = Roster()
    assert roster.decide(View({"a": ended(5)})) == []
    assert roster.code == 5


def test_what_ended_long_ago_is_not_ours() -> None:
    roster = Roster()
    roster.decide(View({"a": ended(5, LATE_START_MS)}))
    assert roster.code is None


def test_what_ended_in_the_future_of_a_clock_that_was_set_back_is_not_ours() -> None:
    roster = Roster()
    roster.decide(View({"a": ended(5, -LATE_START_MS)}))
    assert roster.code is None
    roster.decide(View({"a": ended(5, -LATE_START_MS + 1)}))
    assert roster.code == 5, "it was put right by a little"


def test_a_late_starter_that_does_not_see_all_waits_for_what_is_hidden() -> None:
    roster = Roster()
    roster.decide(View({"a": ended(5)}, hidden=1))
    assert roster.code is None, "what is hidden may run"
    roster.decide(View({"a": ended(5)}))
    assert roster.code == 5


def test_a_process_whose_flows_have_ended_waits_for_none_that_is_hidden() -> None:
    roster = Roster()
    roster.decide(View({"a": RUNNING}, hidden=1))
    roster.ended("a", 4)
    roster.decide(View({"a": ended(4)}, hidden=1))
    assert roster.code == 4


def test_a_flow_that_runs_again_is_followed_again() -> None:
    roster = Roster()
    roster.decide(View({"a": RUNNING}))
    roster.ended("a", 4)
    assert roster.decide(View({"a": Sighting(status=Status.RUNNING, run=2, code=0)})) == ["a"]
    assert roster.code is None


def test_a_process_that_was_told_to_stop_claims_no_code_of_its_own() -> None:
    roster = Roster()
    roster.decide(View({"a": RUNNING, "b": RUNNING}))
    roster.ended("a", 4)
    roster.ended("b", None)
    assert roster.code is None


class LateClock:
    """Every pause takes longer than it should, by a factor for each, and then by the last one."""

    def __init__(self, *factors: float) -> None:
        self._factors, self.pauses, self._now_ns = factors, 0, 0

    def now_ns(self) -> int:
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        factor = self._factors[min(self.pauses, len(self._factors) - 1)]
        self.pauses += 1
        self._now_ns += int(seconds * factor * NS_PER_S)

    async def sleep_until(self, deadline_ns: int) -> None:
        self._now_ns = deadline_ns


async def test_next_flow_is_begun_with_when_the_process_is_on_time_again() -> None:
    clock = LateClock(30.0, 3.0, 1.1)
    await keep_up(clock)
    assert clock.pauses == 3


async def test_process_that_is_never_on_time_begins_all_the_same() -> None:
    clock = LateClock(5.0)
    await keep_up(clock)
    assert clock.pauses == MOST_PAUSES


class TwoNodes:
    """The node that answers in a cluster of two: the other, which holds the flow ``gone`` alone, is away.

    ``status`` is that of the flow ``here``.  ``is_shut``: nothing can be read here either.
    """

    def __init__(self) -> None:
        self.port, self.status, self.is_shut = 0, "running", False

    def __call__(self, command: list[bytes]) -> bytes:
        match command[0].upper():
            case b"CLUSTER":
                away = key_slot(FlowKeys("gone").flow.encode())
                ranges = ((0, away - 1, self.port), (away, away, 1), (away + 1, 16_383, self.port))
                return b"*3\r\n" + b"".join(
                    b"*3\r\n:%d\r\n:%d\r\n*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n" % part for part in ranges
                )
            case b"HKEYS" | b"HMGET" if self.is_shut:
                return b"-CLUSTERDOWN The cluster is down\r\n"
            case b"HKEYS":
                return b"*2\r\n" + bulk("gone") + bulk("here")
            case b"HMGET":
                ended_at = "1000" if self.status == "ended" else ""
                code = "3" if self.status == "ended" else ""
                return b"*4\r\n" + b"".join(map(bulk, (self.status, "1", code, ended_at)))
            case b"PING":
                return b"+PONG\r\n"
            case b"TIME":
                return b"*2\r\n" + bulk("2") + bulk("0")
            case _:
                return b"+OK\r\n"


@asynccontextmanager
async def cluster(node: TwoNodes) -> AsyncIterator[Host]:
    async with stand_in(node) as url:
        [place] = parse_url(url).endpoints
        node.port = place.port
        async with open_client(f"redis+cluster://{place}") as client:
            yield host_of(client)


def host_of(client: Redis) -> Host:
    clock, random, log = SystemClock(), Random(1), structlog.get_logger()
    return Host(
        client=client,
        namespace="metronome",
        clock=clock,
        random=random,
        log=log,
        patience=Patience("redis://here", clock, random, log),
        workshop=Workshop(),
        folder=Path(),
        stdin=BytesIO(),
        stdout=BytesIO(),
        stderr=BytesIO(),
    )


async def test_node_that_is_away_hides_its_own_flows_only() -> None:
    node = TwoNodes()
    async with cluster(node) as host:
        assert await look(host) == View({"here": RUNNING}, hidden=1)
        node.status = "ended"
        assert await look(host) == View({"here": ended(3, 1_000)}, hidden=1)
        assert await look(host, frozenset({"gone", "here"})) == View()


@pytest.mark.parametrize("is_shut", [False, True], ids=["one node", "both"])
async def test_process_whose_flows_have_ended_leaves_whoever_is_away(is_shut: bool) -> None:
    node = TwoNodes()

    async def until_end(_: str) -> int:
        node.status, node.is_shut = "ended", is_shut
        return 3

    async with cluster(node) as host, asyncio.timeout(20):
        assert await follow_all(host, asyncio.Event(), until_end) == 3


async def test_look_at_many_flows_that_have_ended_takes_few_connections(valkey_url: str, namespace: str) -> None:
    async with open_client(valkey_url) as client:
        pipe = client.pipeline(transaction=False)
        for n in range(300):
            record = {"status": "ended", "run": 1, "code": n, "ended_at": 1}
            pipe.hset(FlowKeys(f"flow{n}", namespace).flow, mapping=record)
            pipe.hset(flow_index(namespace), f"flow{n}", 1)
        await pipe.execute()
        before = (await client.info("clients"))["connected_clients"]
        view = await look(replace(host_of(client), namespace=namespace))
        assert [sighting.code for sighting in view.seen.values()] == list(range(300))
        assert (await client.info("clients"))["connected_clients"] <= before + 1
