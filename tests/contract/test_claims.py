"""Shared stages: of each entry one commit counts, whoever has worked on it, and nothing is left lying."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace
from redis.exceptions import ResponseError

from metronome_worker.broker.claims import (
    Claim,
    claim_idle,
    commit_claims,
    drain_claims,
    forget_consumers,
    has_idle,
    leave_group,
    renew_group,
    trim_claims,
)
from metronome_worker.broker.commits import Command, load_state, state_fields
from metronome_worker.broker.exits import write_barrier
from metronome_worker.broker.keys import GROUP
from metronome_worker.errors import OperatorError, SupersededError
from tests.contract.flowkit import LAYOUT, Flow

if TYPE_CHECKING:
    from redis.asyncio import Redis

SHARED = replace(LAYOUT, shared=("tick",))


class Shared(Flow):
    """The stage ``tick`` is shared; its stream has ``entries`` 1-0, 2-0, …"""

    @property
    def events(self) -> str:
        return self.keys.events("tick")

    async def fill(self, entries: int) -> None:
        for n in range(1, entries + 1):
            await self.client.xadd(self.events, {"data": str(n)}, id=f"{n}-0")

    async def take_entries(self, worker: str, count: int) -> list[str]:
        reply: Any = await self.client.xreadgroup(GROUP, worker, {self.events: ">"}, count=count)
        return [entry_id.decode() for entry_id, _ in reply[0][1]] if reply else []

    async def done(self, *ids: str, letters: bool = True) -> int:
        effects = {i: [self.letter(i)] if letters else [] for i in ids}
        return await commit_claims(self.client, self.keys, "tick", self.token, "tick", effects)

    def letter(self, entry_id: str) -> Command:
        return Command("XADD", self.keys.dead, ("*", "entry", entry_id), cause=entry_id)

    async def letters(self) -> list[str]:
        return [fields[b"entry"].decode() for _, fields in await self.client.xrange(self.keys.dead)]

    async def claim(self, worker: str, idle_ms: int = 0) -> Claim | None:
        return (await claim_idle(self.client, self.events, worker, idle_ms, "0-0"))[1]

    async def pending(self) -> list[str]:
        found = await self.client.xpending_range(self.events, GROUP, min="-", max="+", count=100)
        return [entry["message_id"].decode() for entry in found]


async def shared(client: Redis, namespace: str, entries: int = 0) -> Shared:
    flow = Shared(client, namespace)
    await flow.deploy("one", SHARED)
    await flow.fill(entries)
    return flow


async def test_effects_of_an_entry_that_two_have_done_are_applied_once(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 3)
    assert await flow.take_entries("slow", 2) == ["1-0", "2-0"]
    claim = await flow.claim("fast")
    assert claim is not None
    assert (claim.entry_id, claim.fields, claim.deliveries) == (b"1-0", [b"data", b"1"], 2)
    assert await flow.done("1-0") == 1
    assert await flow.done("1-0", "2-0") == 1, "the slow one: one of its entries was done by another"
    assert await flow.done("1-0", "2-0") == 0, "the reply was lost: nothing happens twice"
    assert await flow.letters() == ["1-0", "2-0"]


async def test_position_is_where_nothing_before_is_open(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 6)
    await flow.take_entries("one", 2)
    await flow.take_entries("two", 2)
    await flow.done("3-0", "4-0", letters=False)
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.positions["tick"], state.read["tick"]) == ("0-18446744073709551615", 2)
    await flow.done("1-0", letters=False)
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.positions["tick"], state.read["tick"]) == ("1-18446744073709551615", 3)
    await flow.done("2-0", letters=False)
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.positions["tick"], state.read["tick"], state.commits) == ("4-0", 4, 3)


async def test_nothing_is_applied_when_a_key_holds_something_else(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 1)
    await flow.take_entries("one", 1)
    await client.set(flow.keys.dead, "no stream")
    with pytest.raises(OperatorError, match="another type"):
        await flow.done("1-0")
    assert await flow.pending() == ["1-0"]


async def test_commit_of_a_revision_that_is_over_is_refused(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 1)
    old = flow.token
    await flow.take_entries("one", 1)
    await flow.deploy("two", SHARED)
    assert await flow.pending() == ["1-0"], "the next revision goes on with what is open"
    new, flow.token = flow.token, old
    with pytest.raises(SupersededError):
        await flow.done("1-0")
    flow.token = new
    assert await flow.done("1-0") == 1


async def test_group_that_somebody_has_destroyed_is_told(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 1)
    await client.xgroup_destroy(flow.events, GROUP)
    with pytest.raises(OperatorError, match=rf"{GROUP} of .*events:tick"):
        await flow.done("1-0")


async def test_group_is_made_again_on_a_stream_that_was_put_aside(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 2)
    await flow.take_entries("one", 2)
    await flow.done("1-0", "2-0", letters=False)
    await client.rename(flow.events, f"{flow.events}:aside")
    for _ in range(2):  # two workers find out
        await renew_group(client, flow.keys, "tick", flow.token, "tick")
    await client.xadd(flow.events, {"data": "1"}, id="1-5")
    assert await flow.take_entries("one", 1) == ["1-5"]
    await flow.done("1-5", letters=False)
    await renew_group(client, flow.keys, "tick", flow.token, "tick")
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.positions["tick"], state.read["tick"]) == ("1-5", 1)
    await client.xgroup_destroy(flow.events, GROUP)
    with pytest.raises(OperatorError, match="group of a shared stage is gone"):
        await renew_group(client, flow.keys, "tick", flow.token, "tick")


async def test_entry_that_is_worked_on_is_not_taken_over(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 40)
    await flow.take_entries("one", 40)
    assert await flow.claim("two", 60_000) is None
    deliveries = [claim.deliveries for _ in range(3) if (claim := await flow.claim("two"))]
    assert deliveries == [2, 3, 4], "each time it is given to somebody counts"


async def test_look_for_what_is_idle_finds_what_can_be_taken_over_and_nothing_else(
    client: Redis, namespace: str
) -> None:
    flow = await shared(client, namespace, 2)
    assert not await has_idle(client, flow.events, 1), "nobody was given anything"
    await flow.take_entries("one", 2)
    await asyncio.sleep(0.01)
    assert await has_idle(client, flow.events, 1)
    assert not await has_idle(client, flow.events, 60_000), "it is worked on"
    await flow.done("1-0", "2-0")
    assert not await has_idle(client, flow.events, 1), "it is done"
    await client.xgroup_destroy(flow.events, GROUP)
    with pytest.raises(ResponseError, match="NOGROUP"):
        await has_idle(client, flow.events, 1)


async def test_stage_has_drained_when_nobody_has_anything_in_hand(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 2)

    async def drained() -> bool:
        return await drain_claims(client, flow.keys, "tick", flow.token, ["tick"])

    with pytest.raises(SupersededError):
        await drained()  # it is not leaving
    await flow.take_entries("one", 1)
    await write_barrier(client, flow.keys, await flow.take(), flow.token, 0, ["tick"])
    await flow.done("1-0")
    assert not await drained(), "the second was not given out yet"
    await flow.take_entries("two", 1)
    assert not await drained(), "the second is in hand"
    await flow.done("2-0")
    assert await drained()
    assert await drained(), "it is said once"
    said = [fields for _, fields in await client.xrange(flow.keys.exit) if b"drained" in fields]
    assert said == [{b"drained": b"tick"}]


async def test_consumer_with_something_in_hand_is_not_forgotten(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 2)
    await flow.take_entries("one", 1)
    await flow.take_entries("two", 1)
    await flow.done("2-0")
    await leave_group(client, flow.events, "one")
    await leave_group(client, flow.events, "two")
    await forget_consumers(client, flow.events, 0)
    assert [info["name"] for info in await client.xinfo_consumers(flow.events, GROUP)] == [b"one"]
    assert await flow.pending() == ["1-0"]


async def test_only_what_is_done_is_trimmed(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 600)
    await flow.take_entries("stuck", 250)
    await flow.take_entries("quick", 150)
    await flow.done(*(f"{n}-0" for n in range(251, 401)), letters=False)
    await flow.done(*(f"{n}-0" for n in range(1, 250)), letters=False)

    async def first() -> int:
        await trim_claims(client, flow.keys, "tick", "tick", 0, 0)
        [(entry_id, _)] = await client.xrange(flow.events, count=1)
        return int(entry_id.split(b"-")[0])

    assert 1 < await first() <= 250, "entry 250 is in hand, behind it all up to 400 is done"
    await flow.done("250-0", letters=False)
    assert 250 < await first() <= 401, "200 were not given out yet"


async def test_exclusive_stage_becomes_shared_where_its_owner_was(client: Redis, namespace: str) -> None:
    flow = Shared(client, namespace)
    await flow.deploy("one")
    await flow.fill(4)
    await flow.commit(await flow.take("tick"), 0, state_fields({"tick": "3-0"}, {"tick": 3}, {}))
    await flow.deploy("two", SHARED)
    [group] = await client.xinfo_groups(flow.events)
    assert (group["last-delivered-id"], group["entries-read"], group["lag"]) == (b"3-0", 3, 1)
    assert await flow.take_entries("one", 9) == ["4-0"]


async def test_shared_stage_becomes_exclusive_and_what_is_open_stays_open(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 5)
    await flow.take_entries("one", 2)
    await flow.take_entries("two", 1)
    await flow.done("2-0", letters=False)
    await flow.deploy("two")
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.positions["tick"], state.read["tick"], state.open) == ("3-0", 1, {"tick": ["1-0", "3-0"]})
    assert await client.xinfo_groups(flow.events) == [], "a worker that does not know yet gives nothing out any more"


async def test_what_an_owner_had_not_done_is_open_again_when_its_stage_is_shared_again(
    client: Redis, namespace: str
) -> None:
    flow = await shared(client, namespace, 5)
    await flow.take_entries("one", 3)
    await flow.done("2-0", letters=False)
    await flow.deploy("two")
    await flow.deploy("three", SHARED)
    assert await flow.pending() == ["1-0", "3-0"]
    assert await flow.take_entries("two", 9) == ["4-0", "5-0"]
    assert [claim.entry_id for _ in range(2) if (claim := await flow.claim("two"))] == [b"1-0", b"1-0"]
    state = await load_state(client, flow.keys.state("tick"))
    assert (state.read["tick"], state.open) == (1, {})


async def test_thousands_are_left_open_when_a_stage_becomes_exclusive(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 2_500)
    ids = await flow.take_entries("one", 2_500)
    await flow.deploy("two")
    state = await load_state(client, flow.keys.state("tick"))
    assert state.open["tick"] == ids


async def test_new_run_begins_with_nothing_open(client: Redis, namespace: str) -> None:
    flow = await shared(client, namespace, 3)
    await flow.take_entries("one", 2)
    await client.hset(flow.keys.flow, mapping={"status": "ended", "ended_at": 0})
    assert (await flow.deploy("one", SHARED)).outcome == "started"
    assert await flow.pending() == []
    assert await flow.take_entries("one", 2) == []
