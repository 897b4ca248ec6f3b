"""The commit: all of a batch, once, by the owner; or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metronome_worker.broker.commits import (
    Command,
    Outcome,
    Published,
    SourceBatch,
    load_state,
    publish_events,
    state_fields,
    trim_stream,
)
from metronome_worker.broker.exits import write_barrier, write_end
from metronome_worker.errors import FencedError, OperatorError, SupersededError
from tests.contract.flowkit import Flow, deployed

if TYPE_CHECKING:
    from redis.asyncio import Redis


def exit_command(flow: Flow) -> Command:
    return Command("XADD", flow.keys.exit, ("*", "exit", 3))


async def test_position_states_and_commands_are_applied_together(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    fields = state_fields({"tick": "5-0"}, {"tick": 1}, {"/connector/file": {"length": 12}})
    assert await flow.commit(lease, 0, fields, [exit_command(flow)]) == 1
    state = await load_state(client, flow.keys.state("tick"))
    assert state.commits == 1
    assert state.positions == {"tick": "5-0"}
    assert state.read == {"tick": 1}
    assert state.nodes == {"/connector/file": {"length": 12}}
    assert [fields for _, fields in await client.xrange(flow.keys.exit)] == [{b"exit": b"3"}]


async def test_a_commit_is_refused_after_the_lease_is_lost(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    old = await flow.take("tick")
    await flow.expire("tick")
    with pytest.raises(FencedError, match="fenced"):
        await flow.commit(old, 0, [], [exit_command(flow)])
    await flow.take("tick")
    with pytest.raises(FencedError, match="fenced"):
        await flow.commit(old, 0, [], [exit_command(flow)])
    assert await client.xlen(flow.keys.exit) == 0


async def test_a_commit_whose_reply_was_lost_is_not_applied_twice(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    assert await flow.commit(lease, 0, [], [exit_command(flow)]) == 1
    assert await flow.commit(lease, 0, [], [exit_command(flow)]) == 1
    assert await client.xlen(flow.keys.exit) == 1


async def test_a_commit_on_top_of_a_state_that_the_owner_does_not_know_is_refused(
    client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    first = await flow.take("tick")
    await flow.commit(first, 0)
    await flow.leases.release(first)
    second = await flow.take("tick")
    with pytest.raises(FencedError, match="moved"):
        await flow.commit(second, 0, [], [exit_command(flow)])
    assert await client.xlen(flow.keys.exit) == 0


async def test_a_commit_to_a_key_of_another_type_leaves_everything_as_it_was(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    await client.set(flow.keys.exit, "somebody else's")
    with pytest.raises(OperatorError, match="another type"):
        await flow.commit(lease, 0, state_fields({"tick": "5-0"}, {}, {}), [exit_command(flow)])
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.commits, state.positions) == (0, {"tick": "0-0"})


async def test_a_stage_still_commits_while_the_flow_leaves_but_not_after_the_end(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker, lease = await flow.take(), await flow.take("tick")
    await write_barrier(client, flow.keys, ticker, flow.token, 0, ["tick"])
    assert await flow.commit(lease, 0) == 1
    await write_end(client, flow.keys, ticker, flow.token, "drained")
    with pytest.raises(SupersededError):
        await flow.commit(lease, 1)


async def test_no_stage_drains_to_a_barrier_that_the_flow_does_not_know_of(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker, lease = await flow.take(), await flow.take("tick")
    said = Command("XADD", flow.keys.exit, ("*", "drained", "tick"))
    with pytest.raises(SupersededError):
        await flow.commit(lease, 0, [], [said], is_drained=True)
    assert await client.xlen(flow.keys.exit) == 0
    await write_barrier(client, flow.keys, ticker, flow.token, 0, ["tick"])
    assert await flow.commit(lease, 0, [], [said], is_drained=True) == 1
    assert await flow.commit(lease, 0, [], [said], is_drained=True) == 1, "the reply was lost: not said twice"
    assert await client.xlen(flow.keys.exit) == 2


async def test_the_group_shows_how_far_the_stage_is_behind(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    ticker, lease = await flow.take(), await flow.take("tick")
    first_ms = await flow.make_due(3)
    await flow.publish(ticker, count=3)
    events = flow.keys.events("tick")
    create = Command("XGROUP CREATE", events, ("tick", "0-0", "MKSTREAM"))
    move = Command("XGROUP SETID", events, ("tick", f"{first_ms}-0", "ENTRIESREAD", 1))
    await flow.commit(lease, 0, [], [create, move])
    # The group is there already: only what people see, so it does not fail the commit.
    await flow.commit(lease, 1, [], [create])
    [group] = await client.xinfo_groups(events)
    assert (group["name"], group["entries-read"], group["lag"]) == (b"tick", 1, 2)


async def test_a_damaged_state_is_told_with_its_key(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.hset(flow.keys.state("tick"), "/connector/file", "{not json")
    with pytest.raises(OperatorError, match=r"damaged.*state:tick"):
        await load_state(client, flow.keys.state("tick"))


async def test_events_from_outside_and_their_cursor_are_one_step(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("source:lines")

    batch = SourceBatch(events=((b'{"a":1}', None), (b'{"a":2}', b'{"line":2}')), cursor={"offset": 20})

    async def publish(commits: int, cap: int = 100) -> Published:
        return await publish_events(client, flow.keys, lease, flow.token, commits, "lines", batch, cap)

    assert await publish(0) == Published(Outcome.COMMITTED, 1)
    assert await publish(0) == Published(Outcome.COMMITTED, 1), "the reply was lost: not published twice"
    entries = await flow.entries("lines")
    assert [fields[b"data"] for _, fields in entries] == [b'{"a":1}', b'{"a":2}']
    assert [fields.get(b"meta") for _, fields in entries] == [None, b'{"line":2}']
    state = await load_state(client, flow.keys.source_state("lines"))
    assert (state.commits, state.nodes) == (1, {"cursor": {"offset": 20}})
    assert await publish(1, cap=2) == Published(Outcome.FULL, 1)
    await write_barrier(client, flow.keys, await flow.take(), flow.token, 0, ["lines"])
    assert await publish(1) == Published(Outcome.LEAVING, 1)
    await flow.expire("source:lines")
    with pytest.raises(FencedError):
        await publish(1)


async def test_only_what_is_committed_is_trimmed(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    lease = await flow.take("tick")
    events = flow.keys.events("tick")
    for n in range(500):
        await client.xadd(events, {"data": str(n)}, id=f"{1000 + n}-0")
    await flow.commit(lease, 0, state_fields({"tick": "1299-0"}, {"tick": 300}, {}))
    await trim_stream(client, flow.keys, lease, "tick", 10, 10**15)
    [(first_id, _)] = await client.xrange(events, count=1)
    assert int(first_id.split(b"-")[0]) <= 1290, "the uncommitted 200 and a tail of 10 stay"
    await trim_stream(client, flow.keys, lease, "tick", 10_000, 0)
    assert await client.xrange(events, "1300-0", "1300-0"), "older than an hour, but not committed"
    await flow.expire("tick")
    assert await trim_stream(client, flow.keys, lease, "tick", 0, 0) == -1
