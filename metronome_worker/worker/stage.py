"""One stage at work: read behind the positions, run, put out, commit; again.

The position, the state of every node and everything inside Redis change in one commit, after the files were written.
So whatever happens between two commits is undone, or done again with the same result, by whoever owns the stage next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from metronome_worker.broker.campaign import unless, win
from metronome_worker.broker.commits import Command, commit_batch, load_state, state_fields, trim_stream
from metronome_worker.clock import NS_PER_MS
from metronome_worker.errors import FencedError
from metronome_worker.runtime.effects import DeadLetter, Effects
from metronome_worker.share import COOL_DOWN_S
from metronome_worker.worker.entries import batches_of, ends_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.broker.leases import Lease
    from metronome_worker.connectors.interface import SinkWriter, Undeliverable
    from metronome_worker.plan.model import Stage
    from metronome_worker.session import Session
    from metronome_worker.share import Share
    from metronome_worker.worker.entries import RawReply

#: How many turns of the loop redis-py takes until a command is sent (6 in version 5.3: it first looks for leftovers
#: on the connection), with a few to spare.  Were it wrong, the next read would only begin later.
_TURNS_TO_SEND = 8


async def run_stage(session: Session, stage: Stage, share: Share, stopping: asyncio.Event) -> None:
    """Contend for a stage, and own it, until the flow has drained or ``stopping`` is set.

    Handed over between two batches when others should have it.  Raises ``OperatorError`` when the environment refuses
    (a full disk).  Cancelling drops the batch under way; it is done again by the next owner.
    """
    log = session.host.log.bind(flow=session.keys.flow_name, stage=stage.name)
    piece = (session.keys.flow_name, stage.name)
    while not stopping.is_set():
        campaign = win(session.leases, session.feed, stage.name, yields=lambda: share.yield_s)
        lease = await unless(stopping, campaign)
        if lease is None:
            return
        if stage.name in session.watch.state.drained:
            await session.leases.release(lease)
            return
        log.info("stage_taken", epoch=lease.epoch)
        handover = share.take(piece)
        try:
            owner = StageOwner(session, stage, lease, (stopping, handover))
            is_drained = await session.leases.work_under(lease, owner.run())
            log.info("stage_left", epoch=lease.epoch)
            if is_drained:
                return
        except FencedError as lost:
            log.warning("stage_lost", epoch=lease.epoch, why=str(lost))
        finally:
            share.drop(piece)
        if handover.is_set():
            await unless(stopping, session.host.clock.sleep(COOL_DOWN_S))


class StageOwner:
    """One term of owning a stage."""

    def __init__(self, session: Session, stage: Stage, lease: Lease, told: Sequence[asyncio.Event]) -> None:
        self._session, self._stage, self._lease, self._told = session, stage, lease, told
        self._client, self._keys, self._clock = session.host.client, session.keys, session.host.clock
        self._settings = session.host.worker
        self._program = session.host.workshop.compile_stage(stage.graph, session.record.bundle)
        self._sources = {self._keys.events(source).encode(): source for source in stage.sources}
        self._writers: dict[str, SinkWriter] = {}
        self._positions: dict[str, str] = {}
        self._read_counts: dict[str, int] = {}
        self._commits = 0
        self._trimmed_ns = self._clock.now_ns()

    async def run(self) -> bool:
        """Take over, work, and leave when told to; True when the stage has drained to the barrier.

        Raises ``FencedError`` when the stage is another's.
        """
        try:
            await self._take_over()
            async with asyncio.TaskGroup() as group:
                # Done when this process must give the stage up, and when the flow leaves.
                told = [group.create_task(event.wait()) for event in self._told]
                barrier = group.create_task(self._session.watch.barrier())
                is_drained = await self._work(group, told, barrier)
                for task in (*told, barrier):
                    task.cancel()
            return is_drained
        finally:
            for writer in self._writers.values():
                await writer.close()

    async def _take_over(self) -> None:
        """Go back to what is committed: positions from Redis, files cut to their committed length."""
        state = await load_state(self._client, self._keys.state(self._stage.name))
        self._positions = {source: state.positions.get(source, "0-0") for source in self._stage.sources}
        self._read_counts = {source: state.read.get(source, 0) for source in self._stage.sources}
        self._commits = state.commits
        leases, lease = self._session.leases, self._lease
        environment = self._session.host.environment(self._keys, lambda: leases.is_trusted(lease))
        make_writer = self._session.host.workshop.make_writer
        nodes = {}
        for alias in self._stage.sinks:
            connector = self._session.plan.connectors[alias]
            writer = make_writer(connector, environment)
            self._writers[connector.node] = writer
            initial = await writer.open(state.nodes.get(connector.node))
            if initial is not None:
                nodes[connector.node] = initial
        groups = [self._command("XGROUP CREATE", s, self._positions[s], "MKSTREAM") for s in self._stage.sources]
        await self._commit({}, {}, nodes, groups)

    async def _work(
        self, group: asyncio.TaskGroup, told: Sequence[asyncio.Task[Any]], barrier: asyncio.Task[dict[str, str]]
    ) -> bool:
        reading = group.create_task(self._read(self._positions, self._settings.block_ms))
        is_final = False  # whether the read under way began when the barrier was known
        while True:
            await asyncio.wait({reading, barrier, *told}, return_when=asyncio.FIRST_COMPLETED)
            if any(event.is_set() for event in self._told):
                reading.cancel()
                return False
            if barrier.done() and not reading.done():
                # What is not there now will never be: behind the barrier nothing is published.
                reading.cancel()
                reading, is_final = group.create_task(self._read(self._positions, None)), True
                await asyncio.wait({reading})
            reply = reading.result()
            reached = self._positions | ends_of(reply, self._sources)
            # An entry at the barrier may have been deleted by hand: where nothing is left, nothing is missing.
            is_drained = barrier.done() and (self._is_behind(barrier.result(), reached) or (is_final and not reply))
            if not is_drained:
                # The next read is on its way while this batch is worked on: sent before, as work holds up the loop.
                is_final = barrier.done()
                reading = group.create_task(self._read(reached, None if is_final else self._settings.block_ms))
                for _ in range(_TURNS_TO_SEND if reply else 0):
                    await asyncio.sleep(0)
            if reply:
                await self._process(reply)
            if is_drained:
                await self._commit({}, {}, {}, [Command("XADD", self._keys.exit, ("*", "drained", self._stage.name))])
                return True

    async def _read(self, positions: Mapping[str, str], block_ms: int | None) -> RawReply | None:
        """The entries behind ``positions``, waiting up to ``block_ms`` for the first one."""
        streams = [self._keys.events(source) for source in positions]
        block = () if block_ms is None else ("BLOCK", block_ms)
        # The name as bytes is one that the client has no parser for: the reply comes as it is, and is decoded once.
        reply: RawReply | None = await self._client.execute_command(  # type: ignore[no-untyped-call]
            b"XREAD", "COUNT", self._settings.batch, *block, "STREAMS", *streams, *positions.values()
        )
        return reply

    def _is_behind(self, barrier: Mapping[str, str], reached: Mapping[str, str]) -> bool:
        """Whether every source has come to the barrier when it has ``reached`` these IDs."""
        return all(_id(reached[s]) >= _id(barrier.get(s, "0-0")) for s in self._stage.sources)

    async def _process(self, reply: RawReply) -> None:
        effects, positions = Effects(), ends_of(reply, self._sources)
        read = {source: self._read_counts[source] for source in positions}
        for part in parts_of(reply):
            for batch in batches_of(part, self._sources):
                effects.dead += batch.dead
                read[batch.source] += batch.read
                self._program.run(f"/connector/{batch.source}", batch.entries, effects)
        nodes: dict[str, Any] = {}
        commands: list[Command] = []
        for node, outputs in effects.outputs.items():
            written = await self._writers[node].write(outputs)
            if written.state is not None:
                nodes[node] = written.state
            commands += written.commands
            effects.dead += [self._undelivered(node, event) for event in written.dead]
        commands += [self._dead_letter(letter) for letter in effects.dead]
        commands += [
            self._command("XGROUP SETID", source, position, "ENTRIESREAD", read[source])
            for source, position in positions.items()
        ]
        await self._commit(positions, read, nodes, commands)
        if effects.dead:
            first = effects.dead[0]
            self._session.host.log.warning(
                "dead_letters", count=len(effects.dead), node=first.node, entry=first.entry_id, error=first.error
            )
        await self._trim()

    async def _commit(
        self,
        positions: dict[str, str],
        read: dict[str, int],
        nodes: dict[str, Any],
        commands: Sequence[Command],
    ) -> None:
        fields = state_fields(positions, read, nodes)
        token = self._session.record.token
        self._commits = await commit_batch(
            self._client, self._keys, self._lease, token, self._commits, fields, commands
        )
        self._positions |= positions
        self._read_counts |= read

    async def _trim(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._trimmed_ns < self._settings.trim_every_ms * NS_PER_MS:
            return
        self._trimmed_ns = now_ns
        for source in self._stage.sources:
            await trim_stream(
                self._client, self._keys, self._lease, source, self._settings.keep, self._settings.keep_ms
            )

    def _command(self, name: str, source: str, *args: str | int) -> Command:
        """A command on the group of this stage, which shows people how far the stage is behind."""
        return Command(name, self._keys.events(source), (self._stage.name, *args))

    def _undelivered(self, node: str, event: Undeliverable) -> DeadLetter:
        return DeadLetter(
            stream=self._stage.name, entry_id=event.entry_id, node=node, error=event.error, event=event.value
        )

    def _dead_letter(self, letter: DeadLetter) -> Command:
        fields = ("event", msgspec.json.encode(letter.event), "error", letter.error, "node", letter.node)
        return Command("XADD", self._keys.dead, ("*", *fields, "source", letter.stream, "entry", letter.entry_id))


def _id(entry_id: str) -> tuple[int, int]:
    """A stream ID as numbers, to be compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
