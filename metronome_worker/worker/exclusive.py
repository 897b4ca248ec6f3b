"""A stage that one worker runs at a time: read behind the positions, run, put out, commit; again.

The position, the state of every node and everything inside Redis change in one commit, after the files were written.
So whatever happens between two commits is undone, or done again with the same result, by whoever owns the stage next.
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from metronome_worker.broker.campaign import unless, win
from metronome_worker.broker.commits import (
    Command,
    commit_batch,
    load_state,
    open_command,
    position_of,
    state_fields,
    stream_ends,
    trim_stream,
)
from metronome_worker.broker.keys import GROUP
from metronome_worker.clock import NS_PER_MS
from metronome_worker.errors import FencedError, SupersededError
from metronome_worker.share import COOL_DOWN_S
from metronome_worker.worker.caution import Caution, Verdict
from metronome_worker.worker.entries import ends_of, killer
from metronome_worker.worker.workbench import Made, Workbench

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.broker.leases import Lease
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
        self._bench = Workbench(session, stage)
        self._caution = Caution(session.keys.state(stage.name))
        self._positions: dict[str, str] = {}
        self._read_counts: dict[str, int] = {}
        self._open: dict[str, list[str]] = {}
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
            try:
                await self._bench.close()
            finally:
                await self._caution.pardon(self._client)

    async def _take_over(self) -> None:
        """Go back to what is committed: positions from Redis, files cut to their committed length."""
        state_key = self._keys.state(self._stage.name)
        state = await load_state(self._client, state_key)
        self._positions = {name: state.positions.get(name, "0-0") for name in self._stage.inputs}
        self._positions |= {source: position_of(state, source, state_key) for source in self._stage.sources}
        self._read_counts = {name: state.read.get(name, 0) for name in self._stage.inputs}
        self._commits = state.commits
        self._caution.begin(state.attempt, state.deaths, self._settings.batch)
        leases, lease = self._session.leases, self._lease
        nodes = await self._bench.open(state.nodes, lambda: leases.is_trusted(lease))
        groups = [self._command("XGROUP CREATE", s, self._positions[s], "MKSTREAM") for s in self._stage.sources]
        await self._commit(state_fields({}, {}, nodes), groups)
        self._open = {name: list(ids) for name, ids in state.open.items() if name in self._positions}
        await self._finish_open()

    async def _finish_open(self) -> None:
        """Do what was left open when this stage was shared: it comes first."""
        for name in list(self._open):
            key = self._keys.events(name)
            while self._open[name]:
                first, last = self._open[name][0], self._open[name][-1]
                # The name as bytes is one that the client has no parser for.
                page: list[Any] = await self._client.execute_command(  # type: ignore[no-untyped-call]
                    b"XRANGE", key, first, last, "COUNT", self._settings.batch
                )
                open_ids = set(self._open[name])
                entries = [entry for entry in page if entry[0].decode() in open_ids]
                if entries:
                    await self._carefully([[key.encode(), entries]], is_open=True)
                else:
                    await self._pass_over(name, page)

    async def _pass_over(self, name: str, page: Sequence[Any]) -> None:
        """Give up the open entries of an input that should be on a ``page`` and are not: they were deleted by hand."""
        is_last = len(page) < self._settings.batch
        left = [] if is_last else [i for i in self._open[name] if _id(i) > _id(page[-1][0].decode())]
        deleted = [entry_id for entry_id in self._open[name] if entry_id not in left]
        await self._commit([], [open_command(self._keys.state(self._stage.name), name, left)])
        self._open[name] = left
        log = self._session.host.log.bind(flow=self._keys.flow_name, stage=self._stage.name)
        log.warning("entries_deleted", source=name, count=len(deleted), first=deleted[0])

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
            reached = self._positions | ends_of(reply, self._bench.inputs)
            # An entry at the barrier may have been deleted by hand: where nothing is left, nothing is missing.
            is_drained = barrier.done() and (self._is_behind(barrier.result(), reached) or (is_final and not reply))
            if not is_drained:
                # The next read is on its way while this batch is worked on: sent before, as work holds up the loop.
                is_final = barrier.done()
                reading = group.create_task(self._read(reached, None if is_final else self._settings.block_ms))
                for _ in range(_TURNS_TO_SEND if reply else 0):
                    await asyncio.sleep(0)
            if reply:
                await self._carefully(reply)
            elif not is_drained:
                await self._notice_new_streams()
            if is_drained:
                await self._notice_new_streams()
                said = Command("XADD", self._keys.exit, ("*", "drained", self._stage.name))
                await self._commit([], [said], is_drained=True)
                return True

    async def _read(self, positions: Mapping[str, str], block_ms: int | None) -> RawReply | None:
        """The entries behind ``positions``, waiting up to ``block_ms`` for the first one."""
        streams = [self._keys.events(name) for name in positions]
        block = () if block_ms is None else ("BLOCK", block_ms)
        # The name as bytes is one that the client has no parser for: the reply comes as it is, and is decoded once.
        reply: RawReply | None = await self._client.execute_command(  # type: ignore[no-untyped-call]
            b"XREAD", "COUNT", self._settings.batch, *block, "STREAMS", *streams, *positions.values()
        )
        return reply

    async def _notice_new_streams(self) -> None:
        """Begin anew where a stream ends before our position, which would be waited for in vain.

        An operator has put aside a stream with an entry of the future; nothing is done yet of the one that was made
        anew.  Raises ``SupersededError``, to begin there.
        """
        ends = await stream_ends(self._client, self._keys, self._stage.sources)
        anew = [source for source, end in ends.items() if _id(end) < _id(self._positions[source])]
        if anew:
            await self._commit(state_fields(dict.fromkeys(anew, "0-0"), dict.fromkeys(anew, 0), {}), [])
            raise SupersededError(f"streams were made anew: {', '.join(anew)}")

    def _is_behind(self, barrier: Mapping[str, str], reached: Mapping[str, str]) -> bool:
        """Whether every input has come to the barrier when it has ``reached`` these IDs."""
        return all(_id(reached[name]) >= _id(barrier.get(name, "0-0")) for name in self._stage.inputs)

    async def _carefully(self, reply: RawReply, *, is_open: bool = False) -> None:
        """Work on what was read, so that an entry that kills whoever works on it is found and put aside.

        ``is_open``: the entries are before the positions, among those that were left open.
        """
        for part in self._caution.parts_of(reply):
            async with self._session.host.suspicion if self._caution.is_careful else nullcontext():
                await self._attempt(part, is_open=is_open)
        await self._trim()

    async def _attempt(self, part: RawReply, *, is_open: bool) -> None:
        key, (first, *_) = part[0]
        attempt = f"{self._bench.inputs[key]} {first[0].decode()}"
        verdict = self._caution.judge(attempt)
        if verdict is Verdict.NOTE:
            await self._commit(self._caution.note(attempt), [])
        made = self._put_aside(part) if verdict is Verdict.KILLS else await self._bench.work(part)
        await self._settle(part, made, is_open=is_open)

    def _put_aside(self, reply: RawReply) -> Made:
        """Make a dead letter of an entry, unread."""
        [(key, [(entry_id, fields)])] = reply
        name = self._bench.inputs[key]
        letter = killer(name, entry_id, fields, self._caution.deaths)
        return Made(nodes={}, commands=[self._bench.dead_letter(letter)], dead=[letter], read={name: 1})

    async def _settle(self, reply: RawReply, made: Made, *, is_open: bool) -> None:
        """Commit what was made of a read."""
        counts = {name: self._read_counts[name] + count for name, count in made.read.items()}
        commands, positions = [*made.commands, *self._caution.clearing()], dict[str, str]()
        left = dict[str, list[str]]()
        if is_open:
            for key, raw in reply:
                name, done = self._bench.inputs[key], {entry_id.decode() for entry_id, _ in raw}
                left[name] = [entry_id for entry_id in self._open[name] if entry_id not in done]
                commands.append(open_command(self._keys.state(self._stage.name), name, left[name]))
        else:
            positions = ends_of(reply, self._bench.inputs)
            commands += [
                self._command("XGROUP SETID", name, position, "ENTRIESREAD", counts[name])
                for name, position in positions.items()
            ]
        await self._commit(state_fields(positions, counts, made.nodes), commands)
        self._positions |= positions
        self._read_counts |= counts
        self._open |= left
        self._caution.settled()
        self._bench.tell(made.dead)

    async def _commit(
        self, fields: Sequence[str | bytes], commands: Sequence[Command], *, is_drained: bool = False
    ) -> None:
        token = self._session.record.token
        self._commits = await commit_batch(
            self._client, self._keys, self._lease, token, self._commits, fields, commands, is_drained=is_drained
        )

    async def _trim(self) -> None:
        now_ns = self._clock.now_ns()
        if now_ns - self._trimmed_ns < self._settings.trim_every_ms * NS_PER_MS:
            return
        self._trimmed_ns = now_ns
        await self._notice_new_streams()  # other inputs may be so busy that no read is ever empty
        for name in self._stage.inputs:
            await trim_stream(self._client, self._keys, self._lease, name, self._settings.keep, self._settings.keep_ms)

    def _command(self, name: str, stage_input: str, *args: str | int) -> Command:
        """A command on the group of an input, which shows people how far the stage is behind."""
        return Command(name, self._keys.events(stage_input), (GROUP, *args))


def _id(entry_id: str) -> tuple[int, int]:
    """A stream ID as numbers, to be compared."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)
