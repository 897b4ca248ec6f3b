"""What a stage must have put out, from the entries that it has committed: the same program, run once more.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.connectors.codecs import OutputEncoder, make_codec
from metronome_worker.connectors.output_batch import encode_outputs
from metronome_worker.runtime.effects import Effects
from metronome_worker.worker.entries import batches_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.plan.model import ConnectorInstance, Stage
    from metronome_worker.runtime.effects import Output
    from metronome_worker.runtime.stage import StageProgram

#: An entry of a stream as Redis tells it: its ID, and field, value, field, value…
RawEntry = tuple[bytes, list[bytes]]


class Expectation(Struct, frozen=True, kw_only=True):
    """``outputs``: sink node to what it was given, in order; ``feeding``: sink node to how many inputs feed it.

    ``letters``: each dead letter as ``<entry> at <node>``.
    """

    outputs: dict[str, list[Output]]
    feeding: dict[str, int]
    letters: list[str]


class Written(Struct, frozen=True, kw_only=True):
    """The bytes of a file, and the entries that there are no bytes for, each as a dead letter."""

    data: bytes
    letters: list[str]


def expect(stage: Stage, program: StageProgram, entries: Mapping[str, Sequence[RawEntry]]) -> Expectation:
    """What the ``entries`` (by input) do.  Between the events of two inputs there is no order to be expected."""
    outputs: dict[str, list[Output]] = {}
    feeding: dict[str, int] = {}
    letters: list[str] = []
    for name in stage.inputs:
        effects = Effects()
        for batch in batches_of([[name.encode(), entries.get(name, ())]], {name.encode(): name}):
            effects.dead += batch.dead
            program.run(batch.source, batch.entries, effects)
        for node, ports in effects.outputs.items():
            found = [output for port in ports.values() for output in port]
            outputs.setdefault(node, []).extend(found)
            feeding[node] = feeding.get(node, 0) + bool(found)
        letters += [letter_name(letter.entry_id, letter.node) for letter in effects.dead]
    return Expectation(outputs=outputs, feeding=feeding, letters=letters)


def letter_name(entry_id: str, node: str) -> str:
    """How a dead letter is known: which entry failed, and where."""
    return f"{entry_id} at {node}"


def entry_of(letter: str) -> str:
    """The ID of the entry that a ``letter_name`` tells of."""
    return letter.partition(" ")[0]


def put_back_for(entry: RawEntry) -> str:
    """As ``letter_name``: the dead letter that was put back as this entry; empty for an entry of a source."""
    _, fields = entry
    named = dict(zip(fields[::2], fields[1::2], strict=False))
    return named.get(b"of", b"").decode(errors="replace")


def written_by(connector: ConnectorInstance, outputs: Sequence[Output]) -> Written:
    """What a sink with a codec makes of its outputs."""
    assert connector.codec is not None
    encoder = OutputEncoder(make_codec(connector.codec), connector.postprocessors)
    data, dead = encode_outputs(encoder, outputs)
    return Written(data=data, letters=[letter_name(letter.entry_id, connector.node) for letter in dead])


def lines_of(data: bytes) -> tuple[str, ...]:
    """The lines of a file for people to read; what is no UTF-8 is shown as it can be."""
    *lines, rest = data.decode(errors="backslashreplace").split("\n")
    return (*lines, f"{rest} (without an end)") if rest else tuple(lines)
