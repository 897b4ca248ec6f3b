"""The `stdio` connector: lines of standard input in, events to standard output and standard error out.

Output is written at least once: what a terminal or pipe has taken cannot be taken back after a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from metronome_worker.connectors.codecs import OutputEncoder, make_codec
from metronome_worker.connectors.descriptors import descriptor_of, write_all
from metronome_worker.connectors.input_decoder import InputDecoder
from metronome_worker.connectors.interface import NodeState, SinkWriter, SourceReader, Undeliverable, Written
from metronome_worker.connectors.kind import ConnectorEnvironment, RunnableKind
from metronome_worker.connectors.output_batch import encode_outputs
from metronome_worker.connectors.stream_reader import StreamReader
from metronome_worker.errors import OperatorError
from metronome_worker.plan.model import ProcessorSettings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.plan.model import ConnectorInstance, SettingProblem
    from metronome_worker.runtime.effects import Output

#: Where a pipe cuts what it is given is chance, so without preprocessors lines are read, not chunks.
_LINES = (ProcessorSettings(name="separate"),)

_STDERR_PORTS = ("stderr", "err")


class StdioConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """There is nothing to set."""


class StdioKind(RunnableKind):
    """``in`` and ``stdout`` are one port under two names, and so are ``stderr`` and ``err``."""

    name = "stdio"
    config_type = StdioConfig
    output_ports = ("out",)
    input_ports = ("in", "stdout", *_STDERR_PORTS)
    is_ordered = True

    def needs_codec(self, config: Any) -> bool:
        return True

    def is_source(self, config: Any) -> bool:
        return True

    def is_sink(self, config: Any) -> bool:
        return True

    def check(self, config: StdioConfig) -> tuple[SettingProblem, ...]:
        return ()

    def make_writer(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        assert instance.codec is not None
        encoder = OutputEncoder(make_codec(instance.codec), instance.postprocessors)
        return StdioWriter(instance.node, encoder, stdout=environment.stdout, stderr=environment.stderr)

    def make_reader(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SourceReader:
        assert instance.codec is not None
        decoder = InputDecoder(instance.node, instance.codec, instance.preprocessors or _LINES)
        descriptor = descriptor_of(environment.stdin)
        return StreamReader(environment.stdin if descriptor is None else descriptor, decoder)


class StdioWriter(SinkWriter):
    def __init__(self, node: str, encoder: OutputEncoder, *, stdout: BinaryIO, stderr: BinaryIO) -> None:
        self._node, self._encoder = node, encoder
        self._stdout, self._stderr = stdout, stderr

    async def open(self, committed: NodeState | None) -> NodeState | None:
        return None

    async def write(self, outputs: Mapping[str, Sequence[Output]]) -> Written:
        """Write a batch; what goes to one of the two streams stays in order."""
        dead: tuple[Undeliverable, ...] = ()
        for port, events in outputs.items():
            stream = self._stderr if port in _STDERR_PORTS else self._stdout
            data, undeliverable = encode_outputs(self._encoder, events)
            dead += undeliverable
            try:
                await _write(stream, data)
            except OSError as error:
                raise OperatorError(
                    f"{self._node} cannot write to standard {'error' if stream is self._stderr else 'output'}",
                    reason=error.strerror or str(error),
                    advice="whoever reads it has gone, or its disk is full",
                ) from error
        return Written(dead=dead)

    async def close(self) -> None:
        """The streams stay open: they are the process's."""


async def _write(stream: BinaryIO, data: bytes) -> None:
    descriptor = descriptor_of(stream)
    stream.flush()  # what was written through the buffer comes first
    if descriptor is None:
        stream.write(data)
    else:
        await write_all(descriptor, data)
