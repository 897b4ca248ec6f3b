"""Publication: each due tick once, in order, never early, only by the leader of the run under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from metronome_worker.broker.exits import write_barrier
from metronome_worker.broker.ticks import Outcome, load_schedule
from tests.contract.flowkit import deployed

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_due_tick_is_published_under_its_due_time(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    reply = await flow.publish(lease)
    assert reply.outcome is Outcome.PUBLISHED
    [(entry_id, fields)] = await flow.entries()
    assert entry_id == f"{first_ms}-0"
    data = msgspec.json.decode(fields[b"data"])
    assert data == {"connector": "metronome", "ingest_ns": int(fields[b"ingest_ns"]), "id": 0}
    assert data["ingest_ns"] >= first_ms * 1_000_000
    assert data["ingest_ns"] == reply.server_us * 1_000
    assert list(fields) == [b"data", b"ingest_ns", b"meta"]


async def test_several_due_ticks_are_numbered_without_a_gap(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(5)
    await flow.publish(lease, count=2)
    await flow.publish(lease, count=3)
    assert [msgspec.json.decode(f[b"data"])["id"] for _, f in await flow.entries()] == [0, 1, 2, 3, 4]


async def test_an_early_tick_is_refused(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    # One tick is due now, the last of them in ten seconds: the call is refused whole.
    reply = await flow.publish_as(lease, 0, first_ms, count=1_000)
    assert reply.outcome is Outcome.EARLY
    assert await flow.entries() == []


async def test_a_skip_of_a_tick_that_is_not_due_is_refused(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    reply = await flow.publish_as(lease, 0, first_ms, count=0, skipped=1_000)
    assert reply.outcome is Outcome.EARLY
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.skipped == 0


async def test_an_expired_leader_cannot_publish(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    old = await flow.take()
    await flow.make_due(1)
    await flow.expire()
    assert (await flow.publish(old)).outcome is Outcome.FENCED
    new = await flow.take()
    assert (await flow.publish(old)).outcome is Outcome.FENCED
    assert (await flow.publish(new)).outcome is Outcome.PUBLISHED
    assert len(await flow.entries()) == 1


async def test_a_publication_whose_reply_was_lost_is_not_made_twice(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    assert (await flow.publish_as(lease, 0, first_ms)).outcome is Outcome.PUBLISHED
    again = await flow.publish_as(lease, 0, first_ms)
    assert (again.outcome, again.published, again.next_ms) == (Outcome.MOVED, 1, first_ms + 10)
    assert len(await flow.entries()) == 1


async def test_a_tick_that_is_in_the_stream_already_is_refused_by_the_stream(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(1)
    await flow.publish(lease)
    # Somebody has set the schedule back by hand.
    await client.hset(flow.keys.schedule("tick"), mapping={"published": 0, "next": str(first_ms)})
    assert (await flow.publish(lease)).outcome is Outcome.DUPLICATE
    assert len(await flow.entries()) == 1


async def test_skipped_ticks_are_counted_and_leave_no_gap_in_the_numbers(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    first_ms = await flow.make_due(10)
    await flow.publish_as(lease, 0, first_ms, count=1, skipped=4)
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert (schedule.skipped, schedule.published, schedule.next_ms) == (4, 1, first_ms + 50)
    [(entry_id, fields)] = await flow.entries()
    assert entry_id == f"{first_ms + 40}-0"
    assert msgspec.json.decode(fields[b"data"])["id"] == 0


async def test_a_full_stream_makes_the_source_wait(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(3)
    assert (await flow.publish(lease, cap=1)).outcome is Outcome.PUBLISHED
    assert (await flow.publish(lease, cap=1)).outcome is Outcome.FULL
    assert len(await flow.entries()) == 1


async def test_nothing_is_published_behind_the_barrier(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(2)
    await flow.publish(lease)
    await write_barrier(client, flow.keys, lease, flow.token, 0, ["tick"])
    assert (await flow.publish(lease)).outcome is Outcome.LEAVING


async def test_a_leader_of_another_revision_cannot_publish(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take()
    await flow.make_due(1)
    old_token = flow.token
    await flow.deploy("two")
    flow.token = old_token
    assert (await flow.publish(lease)).outcome is Outcome.STOPPED
