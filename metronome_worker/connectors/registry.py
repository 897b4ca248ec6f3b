"""The kinds of connectors there are.  Kinds from elsewhere (entry points) will join them in ``builtin_kinds``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.connectors.exit import ExitKind
from metronome_worker.connectors.file import FileKind, check_apart
from metronome_worker.connectors.metronome import MetronomeKind
from metronome_worker.connectors.null import NullKind
from metronome_worker.connectors.stdio import StdioKind
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.connectors.interface import SinkWriter, SourceReader
    from metronome_worker.connectors.kind import ConnectorEnvironment, RunnableKind
    from metronome_worker.plan.model import ConnectorInstance


def builtin_kinds() -> dict[str, RunnableKind]:
    """Every kind by its name, as it is written behind ``from`` in a definition."""
    kinds: tuple[RunnableKind, ...] = (ExitKind(), FileKind(), MetronomeKind(), NullKind(), StdioKind())
    return {kind.name: kind for kind in kinds}


def make_writer(instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
    """What puts out the events of a sink.  Nothing is opened yet."""
    return builtin_kinds()[instance.kind].make_writer(instance, environment)


def make_reader(instance: ConnectorInstance, environment: ConnectorEnvironment) -> SourceReader:
    """What reads the events of a source from outside; ticks come from the ticker.  Nothing is opened yet."""
    return builtin_kinds()[instance.kind].make_reader(instance, environment)


def preflight(instances: Iterable[ConnectorInstance], environment: ConnectorEnvironment) -> tuple[OperatorError, ...]:
    """All that the environment will refuse, found before anything starts and without changing anything."""
    kinds = builtin_kinds()
    all_instances = tuple(instances)
    refusals: list[OperatorError] = []
    for instance in all_instances:
        try:
            kinds[instance.kind].preflight(instance, environment)
        except OperatorError as refusal:
            refusals.append(refusal)
    return (*refusals, *check_apart(all_instances, environment))
