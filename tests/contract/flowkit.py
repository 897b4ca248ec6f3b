"""A small deployed flow for tests of scripts: one schedule, one stage, and the calls in short form."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from metronome_worker.broker.commits import commit_batch
from metronome_worker.broker.flows import Bundle, Deployed, Layout, ScheduleLayout, deploy_flow, load_flow
from metronome_worker.broker.keys import TICKER, FlowKeys
from metronome_worker.broker.leases import Lease, Leases
from metronome_worker.broker.ticks import Reply, TickBatch, load_schedule, publish_ticks, server_us, tick_entry
from metronome_worker.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from metronome_worker.broker.commits import Command

LAYOUT = Layout(
    schedules=(ScheduleLayout(connector="tick", kind="metronome", settings='{"interval":10}', interval=10),),
    stages={"tick": ("tick",)},
    readers=("lines",),
)


class Flow:
    """A flow called ``main``, deployed, with the calls of a leader and an owner."""

    def __init__(self, client: Redis, namespace: str, ttl_ms: int = 60_000) -> None:
        self.client, self.keys = client, FlowKeys("main", namespace)
        self.leases = Leases(client, self.keys, SystemClock(), Random(1), ttl_ms)
        self.token = ""

    async def deploy(
        self, digest: str = "one", layout: Layout = LAYOUT, *, force: bool = False, grace_ms: int = 0
    ) -> Deployed:
        bundle = Bundle(main="flow.troy", flow="main", sources={"flow.troy": digest})
        deployed = await deploy_flow(self.client, self.keys, digest, bundle, layout, force=force, grace_ms=grace_ms)
        record = await load_flow(self.client, self.keys)
        assert record is not None
        self.token = record.token
        return deployed

    async def take(self, name: str = TICKER) -> Lease:
        lease = await self.leases.acquire(name, self.leases.new_holder())
        assert isinstance(lease, Lease)
        return lease

    async def expire(self, name: str = TICKER) -> None:
        """What a crash and the TTL do to a lease."""
        await self.client.delete(self.keys.lease(name))

    async def make_due(self, ticks: int) -> int:
        """Move the schedule into the past so that this many ticks are due; returns the first due time, ms."""
        now_ms = await server_us(self.client) // 1000
        first_ms = now_ms - ticks * 10 + 5
        await self.client.hset(self.keys.schedule("tick"), "next", str(first_ms))
        return first_ms

    async def publish(self, lease: Lease, *, count: int = 1, cap: int = 1_000, ahead_ms: int = 0) -> Reply:
        """Publish the next ``count`` ticks as a leader does that believes what Redis says."""
        schedule = await load_schedule(self.client, self.keys, "tick")
        assert schedule is not None
        return await self.publish_as(lease, schedule.published, schedule.next_ms + ahead_ms, count=count, cap=cap)

    async def publish_as(
        self, lease: Lease, published: int, next_ms: int, *, count: int = 1, skipped: int = 0, cap: int = 1_000
    ) -> Reply:
        first_ms = next_ms + 10 * skipped
        batch = TickBatch(
            connector="tick",
            published=published,
            next_ms=next_ms,
            after_ms=first_ms + 10 * count,
            through_ms=first_ms + 10 * (count - 1),
            skipped=skipped,
            gap=0 if count else skipped,
            entries=[
                tick_entry("metronome", due_ms, 0, published + k, {"due_ms": due_ms, "epoch": lease.epoch})
                for k in range(count)
                for due_ms in (first_ms + 10 * k,)
            ],
        )
        return await publish_ticks(self.client, self.keys, lease, self.token, batch, cap)

    async def commit(
        self,
        lease: Lease,
        commits: int,
        fields: Sequence[str | bytes] = (),
        commands: Sequence[Command] = (),
        *,
        is_drained: bool = False,
    ) -> int:
        return await commit_batch(
            self.client, self.keys, lease, self.token, commits, fields, commands, is_drained=is_drained
        )

    async def entries(self, connector: str = "tick") -> list[tuple[str, dict[bytes, bytes]]]:
        found = await self.client.xrange(self.keys.events(connector))
        return [(entry_id.decode(), fields) for entry_id, fields in found]


async def deployed(client: Redis, namespace: str) -> Flow:
    flow = Flow(client, namespace)
    await flow.deploy()
    return flow
