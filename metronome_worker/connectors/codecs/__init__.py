"""Between bytes and values: codecs, what comes before them on the way in, and behind them on the way out."""

from metronome_worker.connectors.codecs.check import (
    check_processor,
    known_codecs,
    known_postprocessors,
    known_preprocessors,
)
from metronome_worker.connectors.codecs.codec import Codec, make_codec
from metronome_worker.connectors.codecs.errors import CodecError
from metronome_worker.connectors.codecs.postprocessors import OutputEncoder
from metronome_worker.connectors.codecs.preprocessors import Preprocessor, make_preprocessor

__all__ = [
    "Codec",
    "CodecError",
    "OutputEncoder",
    "Preprocessor",
    "check_processor",
    "known_codecs",
    "known_postprocessors",
    "known_preprocessors",
    "make_codec",
    "make_preprocessor",
]
