"""What the sinks of a flow put out, beside what its committed entries make: files, dead letters, exit requests.

Files are looked for where the worker has written them, then where they would be for a command that runs in the current
folder.  A file that goes on behind what was there (``append``) is compared from the first of our own lines on, as far
as that can be told.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from metronome_worker.connectors.file import FileConfig, path_of
from metronome_worker.observe.cut import NO_ID, as_number
from metronome_worker.observe.expectation import entry_of, expect, letter_name, lines_of, put_back_for, written_by
from metronome_worker.observe.history import OutputHistory
from metronome_worker.plan.model import source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.host import Host
    from metronome_worker.observe.cut import Cut
    from metronome_worker.observe.expectation import Expectation, RawEntry
    from metronome_worker.plan.model import ConnectorInstance, Stage

    #: By source.
    Entries = Mapping[str, Sequence[RawEntry]]

    #: The ID of each dead letter, and its fields.
    Letters = Sequence[tuple[str, dict[str, str]]]

_TRIMMED = "only what the stream still holds was compared"
_APPENDED = "what the file held before the run was not compared"
_UNKNOWN_KIND = "what it has put out cannot be asked for again"


def output_histories(host: Host, keys: FlowKeys, cut: Cut, entries: Entries, letters: Letters) -> list[OutputHistory]:
    """Of every sink and every stage; reads the files."""
    found: list[OutputHistory] = []
    for stage in cut.plan.stages:
        found += _StageOutputs(host, keys, cut, stage, entries, letters).histories()
    return found


class _StageOutputs:
    """One stage: what its committed entries make, and what is there of it."""

    def __init__(self, host: Host, keys: FlowKeys, cut: Cut, stage: Stage, entries: Entries, letters: Letters) -> None:
        self._letters = letters
        self._entries = {name: entries[name] for name in stage.inputs}
        self._host, self._keys, self._cut, self._stage = host, keys, cut, stage
        state = cut.states[stage.name]
        self._nodes = state.nodes
        self._is_whole = all(cut.is_whole(name, entries[name]) for name in stage.inputs)
        aside = {(fields.get("source"), fields.get("entry")) for _, fields in letters if "deaths" in fields}
        # What was put aside has no effect: nobody could say which.
        self._done = {
            name: [
                entry
                for entry in _done(entries[name], state.positions.get(name, NO_ID))
                if (f"/connector/{source_of(name)}", entry[0].decode()) not in aside
            ]
            for name in stage.inputs
        }

    def histories(self) -> Iterator[OutputHistory]:
        sinks = [self._cut.plan.connectors[alias] for alias in self._stage.sinks]
        if [node for node in self._nodes if node not in {sink.node for sink in sinks}]:
            # What a node remembered before the first entry that is still there is not known any more.
            reason = "the stage keeps a state that is not computed here"
            yield from (OutputHistory(name=sink.node, what="outputs", unchecked=reason) for sink in sinks)
            return
        program = self._host.workshop.compile_stage(self._stage.graph, self._cut.record.bundle)
        expected = expect(self._stage, program, self._done)
        undelivered: list[str] = []
        for sink in sinks:
            if isinstance(sink.config, FileConfig):
                yield self._file(sink, expected, undelivered)
            elif sink.kind == "exit":
                yield self._requests(sink, expected)
            elif sink.kind != "null":
                yield OutputHistory(name=sink.node, what="outputs", unchecked=_UNKNOWN_KIND)
        is_known = all(isinstance(sink.config, FileConfig) or sink.kind in ("exit", "null") for sink in sinks)
        yield self._dead_letters([*expected.letters, *undelivered], is_known=is_known)

    def _file(self, sink: ConnectorInstance, expected: Expectation, undelivered: list[str]) -> OutputHistory:
        outputs = expected.outputs.get(sink.node, [])
        written = written_by(sink, outputs)
        undelivered += written.letters
        state, feeding = self._nodes.get(sink.node), expected.feeding.get(sink.node, 0)
        if state is None:
            reason = "it is no regular file" if written.data else "no worker has opened it yet"
            return OutputHistory(name=sink.node, unchecked=reason)
        if not self._is_whole and len(self._inputs_of(sink)) > 1:
            return OutputHistory(name=sink.node, unchecked="several sources feed it, and some of their events are gone")
        path = self._find(sink, str(state["path"]))
        if path is None:
            return OutputHistory(name=sink.node, unchecked=f"{state['path']} cannot be read from here")
        from_start = self._is_whole and sink.config.mode != "append"
        length = int(state["length"])
        start = 0 if from_start else max(0, length - len(written.data))
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(start)
            data = file.read(max(0, length - start))
        return OutputHistory(
            name=sink.node,
            expected=lines_of(written.data),
            found=lines_of(data),
            tail_bytes=min(size - length, 0) if sink.config.mode == "overwrite" else size - length,
            is_ordered=feeding < 2,
            note=_TRIMMED if not self._is_whole else "" if from_start else _APPENDED,
        )

    def _inputs_of(self, sink: ConnectorInstance) -> list[str]:
        """The inputs that may feed a sink and ever had an entry, also when nothing is left of it."""
        sources = self._stage.graph.sources_of(sink.node)
        return [
            name
            for name in self._stage.inputs
            if f"/connector/{source_of(name)}" in sources and self._cut.streams[name].added
        ]

    def _find(self, sink: ConnectorInstance, said: str) -> Path | None:
        here = path_of(sink, self._host.environment(self._keys))
        return next((path for path in (Path(said), here) if _is_readable(path)), None)

    def _known(self, inputs: Sequence[str]) -> frozenset[str]:
        """The IDs of entries that are done, from where on all that these inputs ever held is still there.

        Two inputs may have an entry of the same ID, and what came of one that is gone does not tell of which it came.
        """
        first = max((self._first_left(name) for name in inputs), default=(0, 0))
        ids = (entry_id.decode() for name in inputs for entry_id, _ in self._done[name])
        return frozenset(entry_id for entry_id in ids if as_number(entry_id) >= first)

    def _first_left(self, name: str) -> tuple[int, int]:
        found = self._entries[name]
        if self._cut.has_all(name, found):
            return 0, 0
        if found:
            return as_number(found[0][0].decode())
        milliseconds, sequence = as_number(self._cut.streams[name].last_id)
        return milliseconds, sequence + 1

    def _requests(self, sink: ConnectorInstance, expected: Expectation) -> OutputHistory:
        known = self._known(self._inputs_of(sink))
        causes = (entry_id for _, _, entry_id in expected.outputs.get(sink.node, []))
        fields = [entry.fields for entry in self._cut.exits if entry.fields.get("by") == sink.node]
        return OutputHistory(
            name=sink.node,
            what="requests",
            expected=tuple(cause for cause in causes if cause in known),
            found=tuple(each["cause"] for each in fields if each.get("cause") in known),
            is_ordered=False,
            note="" if self._is_whole else _TRIMMED,
        )

    def _dead_letters(self, expected: Sequence[str], *, is_known: bool) -> OutputHistory:
        graph = self._stage.graph
        nodes = {s.name for s in graph.sources} | {s.name for s in graph.selects} | {s.name for s in graph.sinks}
        known = self._known(self._stage.inputs)
        expected = [name for name in expected if entry_of(name) in known]
        found = [
            letter_name(fields["entry"], fields["node"])
            for _, fields in self._letters
            if fields.get("node") in nodes and fields.get("entry") in known
        ]
        name, what = self._stage.name, "dead letters"
        if not is_known:
            reason = "a sink may have refused events in a way that cannot be computed"
            return OutputHistory(name=name, what=what, unchecked=reason)
        note = "" if self._is_whole else _TRIMMED
        # A letter that was put back is told by the entry that it became.
        put_back = Counter(put_back_for(entry) for entries in self._entries.values() for entry in entries)
        expected = list((Counter(expected) - put_back).elements())
        if self._cut.has_lost_letters:
            # Somebody has dealt with some of them: what is not there is not missing.
            expected = list((Counter(expected) & Counter(found)).elements())
            note = "some were deleted; only what is there was compared"
        return OutputHistory(
            name=name, what=what, expected=tuple(expected), found=tuple(found), is_ordered=False, note=note
        )


def _done(found: Sequence[RawEntry], position: str) -> list[RawEntry]:
    last = as_number(position)
    return [entry for entry in found if as_number(entry[0].decode()) <= last]


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return path.is_file()
    except OSError:
        return False
