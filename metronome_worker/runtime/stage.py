"""A compiled stage: entries in, effects out.

Events go depth first: all that one target makes of an event happens before the next target gets it, and targets
have the order of the source.  An event's effects are whole or none.  Guarding every event would cost every event,
so a batch is first run as if nothing could fail; when something does, what it did is thrown away and the batch is
run again, carefully: event by event, each failure rolled back to where its event began.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from metronome_worker.runtime.compiler import build_function
from metronome_worker.runtime.effects import DeadLetter
from metronome_worker.runtime.failures import FAILURES, locate
from metronome_worker.runtime.fragments import Namespace, name
from metronome_worker.runtime.selects import Outlet, SelectCompiler, delivery, is_passthrough

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from metronome_worker.plan.model import SelectNode, SourceNode, StageGraph, Target
    from metronome_worker.runtime.effects import Effects, Entry, Output
    from metronome_worker.runtime.failures import Failure
    from metronome_worker.runtime.function import Function

#: The port that a source's events leave by when none is named.
OUT = "out"


def compile_stage(
    graph: StageGraph, functions: Mapping[str, Function], sources: Mapping[str, str] | None = None
) -> StageProgram:
    """Compiles every select of the graph, which has no cycles.

    ``sources`` are the program's texts by name (``Program.sources``): with them, error messages give line and column.
    Raises ``EvalError`` with a span for an expression that can mean nothing here, whatever the event.
    """
    return _StageCompiler(graph, functions, sources or {}).compile()


class StageProgram:
    """Runs a stage's entries.  Not to be entered twice at a time: batches of one stage follow each other."""

    def __init__(
        self,
        drivers: Mapping[tuple[str, str], Callable[[Sequence[Entry]], None]],
        outputs: Mapping[tuple[str, str], list[Output]],
        explain: Callable[[Exception], tuple[Failure, str]],
    ) -> None:
        self._drivers = drivers
        self._outputs = outputs
        self._explain = explain

    def run(self, source_node: str, entries: Sequence[Entry], effects: Effects, *, port: str = OUT) -> None:
        """Adds to ``effects`` what the ``entries`` do that left ``source_node`` by ``port``.

        An event that fails where nothing takes its error does nothing but leave one dead letter.
        """
        drive = self._drivers.get((source_node, port))
        if drive is None:
            return  # nothing is connected there
        try:
            try:
                drive(entries)
            except FAILURES:
                self._clear()
                effects.dead += self._run_carefully(drive, source_node, entries)
            for (node, port_), outputs in self._outputs.items():
                if outputs:
                    effects.outputs.setdefault(node, {}).setdefault(port_, []).extend(outputs)
        finally:
            self._clear()

    def _run_carefully(
        self, drive: Callable[[Sequence[Entry]], None], source_node: str, entries: Sequence[Entry]
    ) -> list[DeadLetter]:
        lists = list(self._outputs.values())
        dead: list[DeadLetter] = []
        for entry in entries:
            marks = [len(outputs) for outputs in lists]
            try:
                drive((entry,))
            except FAILURES as raised:
                for outputs, mark in zip(lists, marks, strict=True):
                    del outputs[mark:]
                failure, message = self._explain(raised)
                entry_id, event, meta = entry
                letter = DeadLetter(
                    stream=source_node, entry_id=entry_id, node=failure.node, error=message, event=event, meta=meta
                )
                dead.append(letter)
        return dead

    def _clear(self) -> None:
        for outputs in self._outputs.values():
            outputs.clear()


class _StageCompiler:
    def __init__(self, graph: StageGraph, functions: Mapping[str, Function], sources: Mapping[str, str]) -> None:
        self._graph = graph
        self._sources = sources
        self._namespace = Namespace()
        self._selects = SelectCompiler(self._namespace, functions)
        self._nodes: dict[str, SelectNode] = {node.name: node for node in graph.selects}
        self._identifiers = {node.name: f"select_{number}" for number, node in enumerate(graph.selects)}
        self._sinks = {node.name for node in graph.sinks}
        self._outputs: dict[tuple[str, str], list[Output]] = {}

    def compile(self) -> StageProgram:
        error_record = self._error_record
        for node in self._graph.selects:
            targets, errors = self._outlets(node.targets), self._outlets(node.errors)
            self._selects.compile(node, self._identifiers[node.name], targets, errors, error_record)
        drivers = {
            (source.name, port): self._driver(source, port, targets)
            for source in self._graph.sources
            for port, targets in source.outlets.items()
        }
        return StageProgram(drivers, self._outputs, self._explain)

    def _outlets(self, targets: Sequence[Target]) -> list[Outlet]:
        return [self._outlet(target) for target in targets]

    def _outlet(self, target: Target) -> Outlet:
        """Selects that pass on to one target what they get are left out: their target stands for them."""
        node = self._nodes.get(target.node)
        while node is not None and is_passthrough(node) and len(node.targets) == 1:
            [target] = node.targets
            node = self._nodes.get(target.node)
        if node is not None:
            return Outlet(self._identifiers[node.name], is_sink=False)
        if target.node not in self._sinks:
            raise KeyError(f"the stage has no node {target.node}")
        outputs = self._outputs.setdefault((target.node, target.port), [])
        identifier = f"sink_{list(self._outputs).index((target.node, target.port))}"
        self._namespace.values[identifier] = outputs.append
        return Outlet(identifier, is_sink=True)

    def _driver(self, source: SourceNode, port: str, targets: Sequence[Target]) -> Callable[[Sequence[Entry]], None]:
        """``for id, event, meta in entries: …targets…``"""
        number = [node.name for node in self._graph.sources].index(source.name)
        entry = ast.Tuple([ast.Name(part, ast.Store()) for part in ("id", "event", "meta")], ast.Store())
        deliveries = [delivery(outlet, name("event")) for outlet in self._outlets(targets)]
        loop = ast.For(entry, name("entries"), deliveries or [ast.Pass()], [])
        ports = list(source.outlets).index(port)
        return build_function(f"source_{number}_{ports}", ("entries",), [loop], self._namespace.values, None)

    def _explain(self, raised: Exception) -> tuple[Failure, str]:
        failure = locate(raised, self._selects.units, self._namespace.values)
        return failure, failure.with_position(self._sources)

    def _error_record(self, raised: Exception, event: Any) -> dict[str, Any]:
        _, message = self._explain(raised)
        return {"error": message, "event": event}
