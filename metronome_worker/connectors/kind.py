"""What every kind of connector offers to the roles that run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from msgspec import Struct

from metronome_worker.broker.keys import FlowKeys
from metronome_worker.plan.model import ConnectorKind

if TYPE_CHECKING:
    from metronome_worker.connectors.interface import SinkWriter, SourceReader
    from metronome_worker.plan.model import ConnectorInstance


class ConnectorEnvironment(Struct, frozen=True, kw_only=True):
    """What a connector may touch of its process: the flow's keys, where relative paths start, standard streams.

    ``is_ours``: whether the connector is still this process's to run, as far as its clock can tell.  To be asked
    immediately before what cannot be done again or undone, from any thread.
    """

    keys: FlowKeys
    base_directory: Path
    stdin: BinaryIO
    stdout: BinaryIO
    stderr: BinaryIO
    is_ours: Callable[[], bool] = lambda: True


class RunnableKind(ConnectorKind, Protocol):
    """A kind as the plan knows it, and how its instances are made to work."""

    def preflight(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> None:
        """Raise ``OperatorError`` when the environment will refuse; changes nothing.  Called before anything starts."""
        return

    def make_writer(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        """The part that puts events out; asked of sinks only."""
        raise AssertionError(f"{instance.node} is no sink")

    def make_reader(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SourceReader:
        """The part that reads from outside; asked of sources only.  Ticks come from the ticker and have none."""
        raise AssertionError(f"{instance.node} is no source to read from")
