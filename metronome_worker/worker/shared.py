"""A stage that all workers run at once: each takes some of its entries; of each entry one commit counts.

Nobody owns such a stage, so there is no lease: the consumer group gives an entry to one worker, and the commit
acknowledges it and applies its effects in one step, where that acknowledgement is the first.  What a worker leaves
unfinished is taken over by another one after as long as a lease lasts.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import ResponseError

from metronome_worker.broker.campaign import unless
from metronome_worker.broker.claims import (
    claim_idle,
    commit_claims,
    drain_claims,
    forget_consumers,
    has_idle,
    leave_group,
    renew_group,
    trim_claims,
)
from metronome_worker.broker.keys import GROUP
from metronome_worker.clock import NS_PER_MS
from metronome_worker.worker.caution import MOST_DEATHS
from metronome_worker.worker.entries import killer
from metronome_worker.worker.workbench import Made, Workbench

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.broker.claims import Claim
    from metronome_worker.broker.commits import Command
    from metronome_worker.plan.model import Stage
    from metronome_worker.session import Session
    from metronome_worker.share import Share
    from metronome_worker.worker.entries import RawReply

#: How often entries are looked for that others have left unfinished: so many times in the time that a lease lasts.
_LOOKS_PER_LEASE = 3

#: How long to wait before it is looked again whether the others have done the last entries, seconds.
_DRAIN_LOOK_S = 0.05

#: After how long without a sign of life a consumer with nothing in hand is forgotten, ms.
_FORGET_MS = 600_000


async def run_shared_stage(session: Session, stage: Stage, share: Share, stopping: asyncio.Event) -> None:
    """Take entries of the stage and work on them, until the flow has drained or ``stopping`` is set.

    Raises ``OperatorError`` when the environment refuses, or somebody has removed the consumer group.
    """
    log = session.host.log.bind(flow=session.keys.flow_name, stage=stage.name)
    competitor = _Competitor(session, stage)
    piece = (session.keys.flow_name, stage.name)
    log.info("stage_joined", consumer=competitor.name)
    share.join(piece)
    try:
        is_drained = await competitor.run(stopping)
    finally:
        share.part(piece)
    log.info("stage_left", drained=is_drained)


class _Competitor:
    """One worker's part in a shared stage."""

    def __init__(self, session: Session, stage: Stage) -> None:
        self._session, self._stage = session, stage
        self._client, self._keys, self._clock = session.host.client, session.keys, session.host.clock
        self._settings = session.host.worker
        self._bench = Workbench(session, stage)
        self._cursors = dict.fromkeys(stage.inputs, "0-0")
        self._looked_ns = self._trimmed_ns = self._clock.now_ns()
        #: Random, never a host's name: two processes must never be taken for one.
        self.name = session.leases.new_holder()

    async def run(self, stopping: asyncio.Event) -> bool:
        """Returns whether the stage has drained to the barrier."""
        await self._bench.open({})
        try:
            async with asyncio.TaskGroup() as group:
                told = group.create_task(stopping.wait())
                barrier = group.create_task(self._session.watch.barrier())
                await self._work(group, told, barrier)
                told.cancel()
                barrier.cancel()
            is_drained = not stopping.is_set() and await self._drain(stopping)
            await self._leave()
            return is_drained
        finally:
            await self._bench.close()

    async def _work(
        self, group: asyncio.TaskGroup, told: asyncio.Task[Any], barrier: asyncio.Task[dict[str, str]]
    ) -> None:
        """Until told to stop, or until nothing is left to be given out behind which there is a barrier."""
        while not told.done():
            is_final = barrier.done()
            reading = group.create_task(self._read(">", None if is_final else self._look_ms()))
            await asyncio.wait({reading, told, *(() if is_final else (barrier,))}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                # What the group has given out to the read that is dropped is in hand, and found by `_leave`.
                reading.cancel()
                await asyncio.wait({reading})
                await self._finish_own()
                continue
            reply = reading.result()
            if reply:
                await self._process(reply)
            elif is_final:
                return
            await self._take_over_idle()
            await self._trim()

    async def _drain(self, stopping: asyncio.Event) -> bool:
        """Wait until all entries are done, helping with those that others have left; False when told to stop before."""
        token = self._session.record.token
        while not await drain_claims(self._client, self._keys, self._stage.name, token, self._stage.inputs):
            await self._take_over_idle()
            if await unless(stopping, self._pause()) is None:
                return False
        return True

    async def _pause(self) -> bool:
        await self._clock.sleep(_DRAIN_LOOK_S)
        return True

    async def _leave(self) -> None:
        """Finish what is in hand, and go."""
        await self._finish_own()
        for name in self._stage.inputs:
            await leave_group(self._client, self._keys.events(name), self.name)

    async def _finish_own(self) -> None:
        while reply := [part for part in await self._read("0-0", None) or () if part[1]]:
            await self._process(reply)

    def _look_ms(self) -> int:
        return min(self._settings.block_ms, max(1, self._settings.lease_ms // _LOOKS_PER_LEASE))

    async def _read(self, position: str, block_ms: int | None) -> RawReply | None:
        """Entries that the group gives us: new ones (``>``), or those that it has given us and we have not done."""
        streams = [self._keys.events(name) for name in self._stage.inputs]
        block = () if block_ms is None else ("BLOCK", block_ms)
        options = ("COUNT", self._settings.batch, *block, "STREAMS", *streams, *[position] * len(streams))
        try:
            # The name as bytes is one that the client has no parser for: the reply comes as it is.
            reply: RawReply | None = await self._client.execute_command(  # type: ignore[no-untyped-call]
                b"XREADGROUP", "GROUP", GROUP, self.name, *options
            )
        except ResponseError as error:
            await self._regain_groups(error)
            return None
        return reply

    async def _regain_groups(self, error: ResponseError) -> None:
        """Make up for a missing group, or raise what it means that there is none."""
        if not str(error).startswith("NOGROUP"):
            raise error
        for name in self._stage.inputs:
            await renew_group(self._client, self._keys, self._stage.name, self._session.record.token, name)

    async def _process(self, reply: RawReply) -> None:
        """Work on entries and commit them, input by input."""
        for key, raw in reply:
            if raw:
                made = await self._bench.work([[key, raw]])
                await self._commit(self._bench.inputs[key], [entry_id.decode() for entry_id, _ in raw], made)

    async def _commit(self, stage_input: str, ids: Sequence[str], made: Made) -> None:
        effects: dict[str, list[Command]] = {entry_id: [] for entry_id in ids}
        for command in made.commands:
            effects[command.cause].append(command)
        token = self._session.record.token
        await commit_claims(self._client, self._keys, self._stage.name, token, stage_input, effects)
        self._bench.tell(made.dead)

    async def _take_over_idle(self) -> None:
        """Every now and then: entries that nobody has finished for as long as a lease lasts."""
        now_ns = self._clock.now_ns()
        if now_ns - self._looked_ns < self._settings.lease_ms * NS_PER_MS // _LOOKS_PER_LEASE:
            return
        self._looked_ns = now_ns
        for name in self._stage.inputs:
            # Most often there is nothing, and nobody need wait for anybody.
            if await self._has_idle(name):
                while await self._take_over_one(name):
                    pass

    async def _take_over_one(self, stage_input: str) -> bool:
        """Whether there was one.  Nothing else that may kill this process is in its hands meanwhile."""
        async with self._session.host.suspicion:
            claim = await self._claim_idle(stage_input)
            if claim is not None:
                await self._take_over(stage_input, claim)
        return claim is not None

    async def _has_idle(self, stage_input: str) -> bool:
        try:
            return await has_idle(self._client, self._keys.events(stage_input), self._settings.lease_ms)
        except ResponseError as error:
            await self._regain_groups(error)
            return False

    async def _claim_idle(self, stage_input: str) -> Claim | None:
        key, cursor = self._keys.events(stage_input), self._cursors[stage_input]
        try:
            cursor, claim = await claim_idle(self._client, key, self.name, self._settings.lease_ms, cursor)
        except ResponseError as error:
            await self._regain_groups(error)
            return None
        self._cursors[stage_input] = cursor
        return claim

    async def _take_over(self, stage_input: str, claim: Claim) -> None:
        if claim.deliveries > MOST_DEATHS:
            letter = killer(stage_input, claim.entry_id, claim.fields, claim.deliveries - 1)
            commands = [self._bench.dead_letter(letter)]
            made = Made(nodes={}, commands=commands, dead=[letter], read={stage_input: 1})
        else:
            key = self._keys.events(stage_input).encode()
            made = await self._bench.work([[key, [(claim.entry_id, claim.fields)]]])
        await self._commit(stage_input, [claim.entry_id.decode()], made)

    async def _trim(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._trimmed_ns < self._settings.trim_every_ms * NS_PER_MS:
            return
        self._trimmed_ns = now_ns
        keep, keep_ms = self._settings.keep, self._settings.keep_ms
        for name in self._stage.inputs:
            await trim_claims(self._client, self._keys, self._stage.name, name, keep, keep_ms)
            await forget_consumers(self._client, self._keys.events(name), _FORGET_MS)
