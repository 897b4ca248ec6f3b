"""Revisions: a new source takes over from the old one, takes its states along, and is not undone by an old replica."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from metronome_worker.broker.commits import load_state, state_fields
from metronome_worker.broker.flows import Layout, ScheduleLayout
from metronome_worker.broker.scripts import run_script
from metronome_worker.broker.ticks import Outcome, load_schedule, server_us
from tests.contract.flowkit import LAYOUT, Flow, deployed
from tests.contract.test_runs import leave

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def test_a_superseded_source_does_not_come_back_by_itself(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await flow.deploy("two")
    again = await flow.deploy("one")
    assert (again.outcome, again.revision) == ("superseded", 2)
    assert await client.hget(flow.keys.flow, "digest") == b"two"


async def test_a_superseded_source_comes_back_by_force(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await flow.deploy("two")
    forced = await flow.deploy("one", force=True)
    assert (forced.outcome, forced.revision) == ("changed", 3)
    assert (await flow.deploy("two")).outcome == "superseded"


async def test_a_superseded_source_stays_so_in_the_next_run(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await flow.deploy("two")
    await leave(flow, 0)
    assert (await flow.deploy("one")).outcome == "superseded"
    assert (await flow.deploy("two")).outcome == "started"


async def test_a_slow_replica_does_not_begin_a_new_run(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 5)
    assert (await flow.deploy("one", grace_ms=60_000)).outcome == "ended"
    assert (await flow.deploy("one")).outcome == "started"


async def test_an_end_in_the_future_is_no_recent_one(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 5)
    now_ms = await server_us(client) // 1000
    await client.hset(flow.keys.flow, "ended_at", str(now_ms + 10_000))
    assert (await flow.deploy("one", grace_ms=60_000)).outcome == "ended", "a clock may be put right by a little"
    await client.hset(flow.keys.flow, "ended_at", str(now_ms + 3_600_000))
    assert (await flow.deploy("one", grace_ms=60_000)).outcome == "started", "the clock was set back"


async def test_position_and_node_state_move_with_their_stage(client: Redis, namespace: str) -> None:
    nodes = {"tick": ("/connector/file",)}
    before = Layout(schedules=LAYOUT.schedules, stages=LAYOUT.stages, readers=(), nodes=nodes)
    flow = Flow(client, namespace)
    await flow.deploy("one", before)
    lease = await flow.take("tick")
    await flow.commit(lease, 0, state_fields({"tick": "5-0"}, {"tick": 1}, {"/connector/file": {"length": 9}}))
    tock = ScheduleLayout(connector="tock", kind="metronome", settings='{"interval":20}', interval=20)
    after = Layout(
        schedules=(*LAYOUT.schedules, tock),
        stages={"tick+tock": ("tick", "tock")},
        readers=(),
        nodes={"tick+tock": ("/connector/file",)},
    )
    assert (await flow.deploy("two", after)).outcome == "changed"
    state = await load_state(client, flow.keys.state("tick+tock"))
    assert state.positions == {"tick": "5-0", "tock": "0-0"}
    assert state.nodes == {"/connector/file": {"length": 9}}
    assert not await client.exists(flow.keys.state("tick")), "what is in no flow any more is gone"


async def test_a_schedule_that_was_taken_out_begins_anew_when_it_comes_back(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    await flow.make_due(1)
    await flow.publish(ticker)
    empty = Layout(schedules=(), stages={}, readers=())
    await flow.deploy("two", empty)
    assert not await client.exists(flow.keys.schedule("tick"))
    await flow.deploy("three", LAYOUT)
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.published == 0


async def test_a_paused_flow_publishes_nothing_and_skips_what_came_due(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker = await flow.take()
    first_ms = await flow.make_due(50)
    assert await run_script(client, "pause_flow", [flow.keys.flow], []) == 1
    assert (await flow.publish(ticker)).outcome is Outcome.PAUSED
    keys = [flow.keys.flow, flow.keys.schedule("tick")]
    assert await run_script(client, "resume_flow", keys, [flow.keys.news]) == 1
    assert await run_script(client, "resume_flow", keys, [flow.keys.news]) == 0, "not paused any more"
    schedule = await load_schedule(client, flow.keys, "tick")
    assert schedule is not None
    assert schedule.skipped == schedule.gap >= 50
    assert (schedule.next_ms - first_ms) % 10 == 0, "its slots stay where they were"


async def test_a_flow_is_removed_only_when_it_has_ended(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    keys = [flow.keys.flow, flow.keys.exit, flow.keys.state("tick")]
    assert await run_script(client, "remove_flow", keys, []) == 0
    await leave(flow, 0)
    assert await run_script(client, "remove_flow", keys, []) == 1
    assert not await client.exists(*keys)


async def test_members_are_those_who_were_heard_of_lately(client: Redis, namespace: str) -> None:
    flow = Flow(client, namespace)

    async def announce(member: str, card: object, ttl_ms: int = 60_000) -> dict[str, object]:
        args = [member, msgspec.json.encode(card) if card else "", ttl_ms]
        reply = await run_script(client, "announce_member", [flow.keys.members], args)
        return {name.decode(): msgspec.json.decode(card) for name, card in zip(reply[::2], reply[1::2], strict=True)}

    await announce("a", {"role": "worker"})
    assert await announce("b", {"role": "ticker"}) == {"a": {"role": "worker"}, "b": {"role": "ticker"}}
    assert await announce("a", None) == {"b": {"role": "ticker"}}, "it said goodbye"
    await client.hset(flow.keys.members, "c", '1 {"role": "worker"}')
    assert await announce("b", {"role": "ticker"}) == {"b": {"role": "ticker"}}, "it was not heard of for long"
    assert not await client.hexists(flow.keys.members, "c")
