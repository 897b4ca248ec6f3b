"""Revisions: a new source takes over from the old one, takes its states along, and is not undone by an old replica."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from metronome_worker.broker.commits import load_state, state_fields
from metronome_worker.broker.flows import (
    Deployed,
    Layout,
    ScheduleLayout,
    code_of_removed,
    is_deployed,
    load_flow,
    load_standing,
    remove_flow,
)
from metronome_worker.broker.keys import flow_index
from metronome_worker.broker.scripts import run_script
from metronome_worker.broker.ticks import Outcome, load_schedule, server_us
from metronome_worker.errors import FencedError, SupersededError
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
    assert not await remove_flow(client, flow.keys, LAYOUT)
    await leave(flow, 3)
    assert await remove_flow(client, flow.keys, LAYOUT)
    assert await client.keys(f"{namespace}:*") == [flow.keys.flow.encode()], "its last numbers stay"
    assert await load_flow(client, flow.keys) is None
    assert await load_standing(client, flow.keys) is None
    assert not await is_deployed(client, flow.keys)
    assert not await client.exists(flow_index(namespace))
    assert await code_of_removed(client, flow.keys) == 3


async def test_no_number_of_a_flow_that_was_removed_comes_again(client: Redis, namespace: str) -> None:
    flow, tokens, epochs = Flow(client, namespace), list[str](), list[int]()
    for _ in range(3):
        assert await flow.deploy() == Deployed("started", len(tokens) + 1, 1)
        tokens.append(flow.token)
        epochs.append((await flow.take("tick")).epoch)
        await leave(flow, 0)
        assert await remove_flow(client, flow.keys, LAYOUT)
        assert await remove_flow(client, flow.keys, LAYOUT), "twice does no harm"
        await flow.expire("tick")
    assert tokens == ["1.1", "2.1", "3.1"]
    assert epochs == sorted(set(epochs))


async def test_a_flow_that_is_deployed_again_has_a_record_like_any_other(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    fields = await client.hkeys(flow.keys.flow)
    await leave(flow, 3)
    await remove_flow(client, flow.keys, LAYOUT)
    await flow.deploy("two")
    assert sorted(await client.hkeys(flow.keys.flow)) == sorted(fields)
    assert await code_of_removed(client, flow.keys) is None


async def test_a_record_with_numbers_of_a_removed_one_is_a_record(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.hset(flow.keys.flow, mapping={"last_run": "7", "last_code": "3"})
    assert await load_flow(client, flow.keys) is not None
    assert await is_deployed(client, flow.keys)
    assert await code_of_removed(client, flow.keys) is None


async def test_who_was_stopped_in_a_run_that_was_removed_is_refused_by_the_next(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    stale, old_token = await flow.take("tick"), flow.token
    await leave(flow, 0)
    await remove_flow(client, flow.keys, LAYOUT)
    await flow.deploy("two")
    flow.token = old_token
    with pytest.raises((FencedError, SupersededError)):
        await flow.commit(stale, 0)


async def test_what_was_removed_with_damaged_numbers_goes_on_behind_those_that_are_known(
    client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    await flow.take("tick")
    await leave(flow, 0)
    await client.hset(flow.keys.flow, mapping={"run": "x", "last_run": "7"})
    await client.delete(flow.keys.epoch)
    await client.rpush(flow.keys.epoch, "no", "counter")
    assert await remove_flow(client, flow.keys, LAYOUT)
    assert await flow.deploy() == Deployed("started", 8, 1)
    assert (await flow.take()).epoch == 1


@pytest.mark.parametrize("command", ["hdel", "execute_command"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "behind"])
async def test_flow_that_is_deployed_while_it_is_removed_is_found(
    command: str, is_before: bool, client: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 0)
    undisturbed = getattr(client, command)

    async def disturbed(*args: Any, **options: Any) -> Any:
        if command == "execute_command" and not args[0].startswith("EVAL"):
            return await undisturbed(*args, **options)
        answer = None if is_before else await undisturbed(*args, **options)
        monkeypatch.setattr(client, command, undisturbed)
        await flow.deploy("two")
        return await undisturbed(*args, **options) if is_before else answer

    monkeypatch.setattr(client, command, disturbed)
    await remove_flow(client, flow.keys, LAYOUT)
    assert await client.hget(flow.keys.flow, "status") == b"running"
    assert await client.hkeys(flow_index(namespace)) == [b"main"]


async def test_removing_a_flow_that_runs_puts_it_back_into_the_index(client: Redis, namespace: str) -> None:
    flow = await deployed(client, namespace)
    await client.delete(flow_index(namespace))
    assert not await remove_flow(client, flow.keys, LAYOUT)
    assert await client.hgetall(flow_index(namespace)) == {b"main": b"1"}


async def test_deployment_that_was_prepared_for_another_flow_of_that_name_looks_again(
    client: Redis, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = await deployed(client, namespace)
    await leave(flow, 0)
    look = client.hgetall
    tock = ScheduleLayout(connector="tock", kind="metronome", settings='{"interval":20}', interval=20)
    other = Layout(schedules=(tock,), stages={"tock": ("tock",)}, readers=())

    async def look_and_sleep(name: str) -> object:
        found = await look(name)
        monkeypatch.setattr(client, "hgetall", look)
        await remove_flow(client, flow.keys, LAYOUT)
        await flow.deploy("other", other)
        return found

    monkeypatch.setattr(client, "hgetall", look_and_sleep)
    assert await flow.deploy("two") == Deployed("changed", 2, 2, "flow.troy, revision 1")
    assert not await client.exists(flow.keys.state("tock")), "what the other had and this one has not is gone"


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


async def test_what_was_there_before_a_revision_is_not_of_it_whatever_the_clock_says(
    client: Redis, namespace: str
) -> None:
    flow = await deployed(client, namespace)
    from_ms, started_ms = (int(n) for n in await client.hmget(flow.keys.flow, ["entries_from", "started_at"]))
    assert from_ms == started_ms
    await client.xadd(flow.keys.events("tick"), {"data": "1"}, id="9999999999999-5")
    await flow.deploy("two")
    assert await client.hget(flow.keys.flow, "entries_from") == b"10000000000000"
