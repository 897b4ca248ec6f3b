"""What a stage makes of entries: the program, the sinks, and the commands that a commit must hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from metronome_worker.broker.commits import Command
from metronome_worker.runtime.effects import DeadLetter, Effects
from metronome_worker.worker.entries import batches_of, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metronome_worker.connectors.interface import SinkWriter, Undeliverable
    from metronome_worker.plan.model import Stage
    from metronome_worker.session import Session
    from metronome_worker.worker.entries import RawReply


class Made(Struct, frozen=True, kw_only=True):
    """What was made of a read: new states of nodes, commands for the commit (dead letters among them), and the letters.

    ``read``: input to how many entries there were.
    """

    nodes: dict[str, Any]
    commands: list[Command]
    dead: list[DeadLetter]
    read: dict[str, int]


class Workbench:
    """The program of a stage with its sinks, for as long as one process works on it."""

    def __init__(self, session: Session, stage: Stage) -> None:
        self._session, self._stage = session, stage
        self._program = session.host.workshop.compile_stage(stage.graph, session.record.bundle)
        self._writers: dict[str, SinkWriter] = {}
        #: The key of each stream that the stage reads, to the input that it is.
        self.inputs: Mapping[bytes, str] = {session.keys.events(name).encode(): name for name in stage.inputs}

    async def open(self, committed: Mapping[str, Any], is_ours: Callable[[], bool] = lambda: True) -> dict[str, Any]:
        """Open the sinks with their ``committed`` states; returns the states to be committed before anything else."""
        host = self._session.host
        environment = host.environment(self._session.keys, is_ours)
        nodes = {}
        for alias in self._stage.sinks:
            connector = self._session.plan.connectors[alias]
            writer = self._writers[connector.node] = host.workshop.make_writer(connector, environment)
            initial = await writer.open(committed.get(connector.node))
            if initial is not None:
                nodes[connector.node] = initial
        return nodes

    async def close(self) -> None:
        for writer in self._writers.values():
            await writer.close()

    async def work(self, reply: RawReply) -> Made:
        """Run the program on what was read, and have the sinks put out what comes of it.

        Raises ``OperatorError`` when the environment refuses (a full disk).
        """
        effects, read = Effects(), dict[str, int]()
        for part in parts_of(reply):
            for batch in batches_of(part, self.inputs):
                read[batch.stage_input] = read.get(batch.stage_input, 0) + batch.read
                effects.dead += batch.dead
                self._program.run(batch.source, batch.entries, effects)
        nodes: dict[str, Any] = {}
        commands: list[Command] = []
        for node, outputs in effects.outputs.items():
            written = await self._writers[node].write(outputs)
            if written.state is not None:
                nodes[node] = written.state
            commands += written.commands
            effects.dead += [self._undelivered(node, event) for event in written.dead]
        commands += [self.dead_letter(letter) for letter in effects.dead]
        return Made(nodes=nodes, commands=commands, dead=effects.dead, read=read)

    def _undelivered(self, node: str, event: Undeliverable) -> DeadLetter:
        return DeadLetter(
            stream=self._stage.name,
            entry_id=event.entry_id,
            node=node,
            error=event.error,
            event=event.value,
            meta=event.meta,
        )

    def dead_letter(self, letter: DeadLetter) -> Command:
        """What a commit must hold for a letter; an event that JSON has no words for is shown as it would be printed."""
        what, shown = "event" if letter.is_event else "raw", b""
        try:
            shown = msgspec.json.encode(letter.event)
        except (ValueError, TypeError, RecursionError):
            what, shown = "raw", repr(letter.event).encode(errors="backslashreplace")
        fields: list[str | bytes] = [what, shown, "error", letter.error, "node", letter.node]
        fields += ["source", letter.stream, "entry", letter.entry_id]
        if letter.meta:
            fields += ["meta", msgspec.json.encode(letter.meta)]
        if letter.deaths:
            fields += ["deaths", str(letter.deaths)]
        return Command("XADD", self._session.keys.dead, ("*", *fields), cause=letter.entry_id)

    def tell(self, dead: Sequence[DeadLetter]) -> None:
        """Log that there are dead letters, once for all of a batch."""
        if dead:
            first = dead[0]
            self._session.host.log.warning(
                "dead_letters", count=len(dead), node=first.node, entry=first.entry_id, error=first.error
            )
