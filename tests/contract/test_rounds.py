"""Calls of one script that are made at about the same time go out together, and are nobody's but their callers'."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from metronome_worker.broker.connection import open_client
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Held, Lease, Leases
from metronome_worker.broker.rounds import Rounds
from metronome_worker.clock import SystemClock

if TYPE_CHECKING:
    from redis.asyncio import Redis

FLOWS = 50


def leases_of(client: Redis, namespace: str, *flows: str) -> list[Leases]:
    rounds = Rounds()
    return [Leases(client, FlowKeys(flow, namespace), SystemClock(), Random(1), 60_000, rounds) for flow in flows]


async def reads(client: Redis) -> int:
    return int((await client.info("stats"))["total_reads_processed"])


async def test_leases_of_many_flows_are_asked_for_and_renewed_in_one_round_trip(
    valkey_url: str, namespace: str
) -> None:
    async with open_client(valkey_url) as client:
        flows = leases_of(client, namespace, *(f"flow{number}" for number in range(FLOWS)))
        answers = await asyncio.gather(*(each.acquire("ticker", "one") for each in flows))
        won = [answer for answer in answers if isinstance(answer, Lease)]
        assert [lease.epoch for lease in won] == [1] * FLOWS
        await flows[0].renew(won[0])  # the server knows both scripts from now on
        before = await reads(client)
        held = await asyncio.gather(*(each.acquire("ticker", "two") for each in flows))
        assert all(isinstance(answer, Held) for answer in held)
        assert all(await asyncio.gather(*(each.renew(lease) for each, lease in zip(flows, won, strict=True))))
        # Others may talk to this server, too; alone each call would be a read of its own.
        assert await reads(client) - before < FLOWS


async def test_server_that_does_not_know_the_script_is_sent_its_text(client: Redis, namespace: str) -> None:
    flows = leases_of(client, namespace, "one", "other", "third")
    won = await asyncio.gather(*(each.acquire("ticker", "one") for each in flows))
    assert all(isinstance(answer, Lease) for answer in won)


async def test_flow_whose_key_is_damaged_harms_no_other(client: Redis, namespace: str) -> None:
    damaged, sound = leases_of(client, namespace, "one", "other")
    await client.hset(FlowKeys("one", namespace).lease("ticker"), "not", "a lease")
    answers = await asyncio.gather(damaged.acquire("ticker", "a"), sound.acquire("ticker", "a"), return_exceptions=True)
    assert isinstance(answers[0], ResponseError)
    assert isinstance(answers[1], Lease)


async def test_commands_are_sent_together_and_each_is_answered(client: Redis, namespace: str) -> None:
    await client.hset(f"{namespace}:one", "field", "1")
    rounds = Rounds()
    answers = await asyncio.gather(
        rounds.execute(client, "HMGET", f"{namespace}:one", "field"),
        rounds.execute(client, "HMGET", f"{namespace}:other", "field"),
    )
    assert answers == [[b"1"], [None]]


async def test_caller_that_is_cancelled_takes_nobody_along_and_gets_nothing(client: Redis, namespace: str) -> None:
    one, other = leases_of(client, namespace, "one", "other")
    first = asyncio.create_task(one.acquire("ticker", "a"))
    second = asyncio.create_task(other.acquire("ticker", "b"))
    await asyncio.sleep(0)
    first.cancel()
    assert isinstance(await second, Lease)
    assert first.cancelled()
    assert not await client.exists(FlowKeys("one", namespace).lease("ticker"))


async def test_each_gets_the_answer_to_its_own_call(client: Redis, namespace: str) -> None:
    one, other = leases_of(client, namespace, "one", "other")
    assert isinstance(await one.acquire("ticker", "a"), Lease)
    held, won = await asyncio.gather(one.acquire("ticker", "b"), other.acquire("ticker", "b"))
    assert isinstance(held, Held)
    assert isinstance(won, Lease)


async def test_outage_is_told_to_everybody() -> None:
    async with open_client("redis://127.0.0.1:1") as client:
        flows = leases_of(client, "none", "one", "other")
        answers = await asyncio.gather(*(each.acquire("ticker", "a") for each in flows), return_exceptions=True)
    assert [type(answer) for answer in answers] == [RedisConnectionError] * 2
