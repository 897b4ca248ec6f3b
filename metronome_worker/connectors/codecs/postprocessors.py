"""Postprocessors: what is done to the documents of a codec on their way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metronome_worker.connectors.codecs.codec import Codec
    from metronome_worker.plan.model import ProcessorSettings, Value


class SeparatorConfig(Struct, frozen=True, forbid_unknown_fields=True):
    separator: str = "\n"


class Separator:
    """``separate``: puts the separator behind each document, the last one included."""

    def __init__(self, config: SeparatorConfig) -> None:
        self.suffix = config.separator.encode()


class PostprocessorKind(Struct, frozen=True, kw_only=True):
    """A postprocessor by name: its settings and how it is made of them."""

    name: str
    config_type: type[Struct]
    make: Callable[[Any], Separator]


POSTPROCESSORS: tuple[PostprocessorKind, ...] = (
    PostprocessorKind(name="separate", config_type=SeparatorConfig, make=Separator),
)


def make_postprocessor(settings: ProcessorSettings) -> Separator:
    """The postprocessor of settings that ``check_processor`` has found nothing wrong with."""
    [kind] = [kind for kind in POSTPROCESSORS if kind.name == settings.name]
    return kind.make(msgspec.convert(settings.config, kind.config_type))


class OutputEncoder:
    """A codec and the postprocessors behind it: a batch of values to the bytes that leave, in few calls.

    All postprocessors there are put something behind a document, so a chain of them is one separator.
    """

    def __init__(self, codec: Codec, postprocessors: Sequence[ProcessorSettings]) -> None:
        self._codec = codec
        self._separator = b"".join(make_postprocessor(settings).suffix for settings in postprocessors)

    def encode_batch(self, values: Sequence[Value]) -> bytes:
        """The documents of all values, in order; raises ``CodecError`` when one of them has none."""
        return self._codec.encode_separated(values, self._separator)
