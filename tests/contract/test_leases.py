"""Leases: one holder at a time, each under an epoch of its own."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from metronome_worker.broker.leases import Held, Lease, Leases
from metronome_worker.clock import SystemClock
from metronome_worker.errors import FencedError
from tests.contract.flowkit import Flow

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_only_one_of_two_contenders_gets_the_lease(client: Redis, namespace: str) -> None:
    leases = Flow(client, namespace).leases
    first = await leases.acquire("ticker", "one")
    second = await leases.acquire("ticker", "two")
    assert isinstance(first, Lease)
    assert isinstance(second, Held)
    assert 0 < second.wait_ms <= 60_000


async def test_each_holder_gets_a_higher_epoch_than_the_one_before(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    first = await flow.take()
    assert await flow.leases.release(first)
    second = await flow.take()
    assert second.epoch > first.epoch


async def test_a_contender_that_asks_again_gets_what_it_has(client: Redis, namespace: str) -> None:
    leases = Flow(client, namespace).leases
    first = await leases.acquire("ticker", "one")
    again = await leases.acquire("ticker", "one")
    assert isinstance(first, Lease)
    assert isinstance(again, Lease)
    assert again.value == first.value


async def test_a_lease_without_an_end_is_given_one(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    await client.set(flow.keys.lease("ticker"), "7 someone")
    assert isinstance(await flow.leases.acquire("ticker", "one"), Held)
    assert 0 < await client.pttl(flow.keys.lease("ticker")) <= 60_000


async def test_a_lapsed_lease_is_neither_renewed_nor_released(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    old = await flow.take()
    await flow.expire()
    assert not await flow.leases.renew(old)
    new = await flow.take()
    assert not await flow.leases.renew(old)
    assert not await flow.leases.release(old)
    assert await client.get(flow.keys.lease("ticker")) == new.value.encode()


async def test_a_lease_lapses_by_itself(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace, ttl_ms=20)
    await flow.take()
    async with asyncio.timeout(5):
        while await client.exists(flow.keys.lease("ticker")):  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.005)
    assert await client.get(flow.keys.epoch) == b"1"


async def test_a_release_is_announced(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    lease = await flow.take()
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    try:
        await pubsub.subscribe(flow.keys.news)
        await pubsub.get_message(timeout=1)  # the confirmation of the subscription
        assert await flow.leases.release(lease)
        async with asyncio.timeout(5):
            while (message := await pubsub.get_message(timeout=1)) is None:
                pass
        assert message["data"] == b"ticker"
    finally:
        await pubsub.aclose()


class SlowLeases(Leases):
    """A release takes its time here, long enough to be cancelled in the middle of it."""

    def __init__(self, flow: Flow) -> None:
        super().__init__(flow.client, flow.keys, SystemClock(), Random(1), 60_000)
        self.is_releasing = asyncio.Event()

    async def release(self, lease: Lease) -> bool:
        self.is_releasing.set()
        await asyncio.sleep(0.02)
        return await super().release(lease)


async def test_a_release_is_finished_even_when_it_is_cancelled(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)
    leases = SlowLeases(flow)
    lease = await leases.acquire("ticker", "one")
    assert isinstance(lease, Lease)

    async def work() -> None:
        pass

    working = asyncio.create_task(leases.work_under(lease, work()))
    await leases.is_releasing.wait()
    working.cancel()
    await asyncio.wait({working})
    assert working.cancelled()
    assert not await client.exists(flow.keys.lease("ticker"))


async def test_a_cancellation_is_not_lost_when_the_lease_is_lost_at_the_same_time(
    client: Redis, namespace: str
) -> None:
    flow = Flow(client, namespace)
    lease = await flow.take()
    went_on = False

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise FencedError("a write that was refused, just as the work is cancelled")

    async def owner() -> None:
        nonlocal went_on
        with suppress(FencedError):
            await flow.leases.work_under(lease, work())
        went_on = True

    owning = asyncio.create_task(owner())
    await asyncio.sleep(0.05)
    owning.cancel()
    await asyncio.wait({owning})
    assert owning.cancelled()
    assert not went_on
