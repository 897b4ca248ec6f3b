"""The `null` connector: a sink that drops every event.  For tests, and to see what a flow costs without its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from metronome_worker.connectors.interface import NodeState, SinkWriter, Written
from metronome_worker.connectors.kind import ConnectorEnvironment, RunnableKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.plan.model import ConnectorInstance, SettingProblem
    from metronome_worker.runtime.effects import Output


class NullConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class NullKind(RunnableKind):
    name = "null"
    config_type = NullConfig
    output_ports = ()
    input_ports = ("in",)
    is_ordered = False

    def needs_codec(self, config: Any) -> bool:
        return False

    def is_source(self, config: Any) -> bool:
        return False

    def is_sink(self, config: Any) -> bool:
        return True

    def check(self, config: NullConfig) -> tuple[SettingProblem, ...]:
        return ()

    def make_writer(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        return NullWriter()


class NullWriter(SinkWriter):
    async def open(self, committed: NodeState | None) -> NodeState | None:
        return None

    async def write(self, outputs: Mapping[str, Sequence[Output]]) -> Written:
        return Written()

    async def close(self) -> None:
        pass
