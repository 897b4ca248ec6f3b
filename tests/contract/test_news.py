"""What is announced of flows is heard, over one connection for all of them."""

from __future__ import annotations

import asyncio
import signal
from random import Random
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError

from metronome_worker.broker.campaign import win
from metronome_worker.broker.connection import open_client
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Held, Lease, Leases
from metronome_worker.broker.news import Feed, NewsDesk
from metronome_worker.clock import SystemClock
from tests.harness.servers import FaultyServer

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio import Redis

LIMIT_S = 5.0


async def listening(
    desk: NewsDesk, client: Redis, *flows: str, namespace: str
) -> list[tuple[Feed, asyncio.Task[None]]]:
    """Feeds whose subscription has begun, in this order."""
    started = []
    for flow in flows:
        feed = Feed(desk, client, FlowKeys(flow, namespace))
        started.append((feed, asyncio.create_task(feed.run())))
        await feed.wait(0, LIMIT_S)
        assert feed.heard == 1, "that it has begun is news"
    return started


async def end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_each_feed_hears_what_is_announced_of_its_own_flow(client: Redis, namespace: str) -> None:
    (one, first), (other, second) = await listening(NewsDesk(), client, "one", "other", namespace=namespace)
    await client.publish(FlowKeys("other", namespace).news, "deployed")
    await other.wait(1, LIMIT_S)
    assert (one.heard, other.heard) == (1, 2)
    await end(first, second)


async def test_others_hear_on_when_the_one_that_reads_for_all_leaves(client: Redis, namespace: str) -> None:
    (_, first), (other, second) = await listening(NewsDesk(), client, "one", "other", namespace=namespace)
    await end(first)
    await client.publish(FlowKeys("other", namespace).news, "deployed")
    await other.wait(1, LIMIT_S)
    assert other.heard == 2
    await end(second)


async def test_who_comes_again_while_others_listen_hears_all(client: Redis, namespace: str) -> None:
    desk = NewsDesk()
    (_, first), (_, second) = await listening(desk, client, "one", "other", namespace=namespace)
    await end(first)
    [(again, third)] = await listening(desk, client, "one", namespace=namespace)
    await client.publish(again.channel, "deployed")
    await again.wait(1, LIMIT_S)
    assert again.heard == 2
    await end(second, third)


async def test_who_comes_when_all_have_left_listens_anew(client: Redis, namespace: str) -> None:
    desk = NewsDesk()
    for _ in range(2):
        [(feed, task)] = await listening(desk, client, "one", namespace=namespace)
        await client.publish(feed.channel, "deployed")
        await feed.wait(1, LIMIT_S)
        assert feed.heard == 2
        await end(task)


async def test_who_comes_while_the_last_one_leaves_hears_all(client: Redis, namespace: str) -> None:
    desk = NewsDesk()
    [(_, leaving)] = await listening(desk, client, "one", namespace=namespace)
    for turns in range(8):
        leaving.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        [(feed, coming)] = await listening(desk, client, "one", namespace=namespace)
        await client.publish(feed.channel, "deployed")
        await feed.wait(1, LIMIT_S)
        assert feed.heard == 2
        leaving = coming
    await end(leaving)


async def test_two_that_follow_one_flow_both_hear_until_the_last_leaves(client: Redis, namespace: str) -> None:
    (_, first), (twin, second) = await listening(NewsDesk(), client, "one", "one", namespace=namespace)
    await end(first)
    heard = twin.heard
    await client.publish(twin.channel, "deployed")
    await twin.wait(heard, LIMIT_S)
    assert twin.heard == heard + 1
    await end(second)


async def test_all_flows_share_one_connection_and_all_are_told_when_it_breaks(valkey_url: str, namespace: str) -> None:
    async with open_client(valkey_url) as client:
        flows = [f"flow{number}" for number in range(10)]
        started = await listening(NewsDesk(), client, *flows, namespace=namespace)
        theirs = [one for one in await client.client_list(_type="pubsub") if int(one["sub"]) == len(flows)]
        assert len(theirs) == 1
        await client.client_kill_filter(_id=theirs[0]["id"])
        done, _ = await asyncio.wait([task for _, task in started], timeout=LIMIT_S)
        assert len(done) == len(flows)
        assert all(isinstance(task.exception(), RedisConnectionError) for task in done)


async def test_server_that_says_nothing_any_more_is_given_up(tmp_path: Path, namespace: str) -> None:
    with FaultyServer(tmp_path) as server:
        async with open_client(server.url) as client:
            [(_, task)] = await listening(NewsDesk(silence_s=0.1), client, "one", namespace=namespace)
            await asyncio.wait([task], timeout=0.5)
            assert not task.done(), "a server that answers is not given up"
            server.send(signal.SIGSTOP)
            await asyncio.wait([task], timeout=LIMIT_S)
            assert isinstance(task.exception(), RedisConnectionError)
            server.send(signal.SIGCONT)


class GivenBackMeanwhile(Leases):
    """The lease is given back, and that is heard, just as the first attempt is told that somebody holds it."""

    def __init__(self, client: Redis, keys: FlowKeys, feed: Feed) -> None:
        super().__init__(client, keys, SystemClock(), Random(1), 60_000)
        self._feed, self._attempts = feed, 0

    async def acquire(self, name: str, holder: str) -> Lease | Held:
        self._attempts += 1
        if self._attempts == 1:
            self._feed.hear()
            return Held(60_000)
        return await super().acquire(name, holder)


async def test_release_that_is_announced_during_an_attempt_is_not_missed(client: Redis, namespace: str) -> None:
    keys = FlowKeys("one", namespace)
    feed = Feed(NewsDesk(), client, keys)
    async with asyncio.timeout(LIMIT_S):
        assert isinstance(await win(GivenBackMeanwhile(client, keys, feed), feed, "ticker"), Lease)
