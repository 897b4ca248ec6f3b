"""Whether codecs, preprocessors and postprocessors are known, and configured as they can be.  For the plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from metronome_worker.connectors.codecs.codec import CODECS
from metronome_worker.connectors.codecs.postprocessors import POSTPROCESSORS
from metronome_worker.connectors.codecs.preprocessors import PREPROCESSORS
from metronome_worker.language.diagnostics import suggest
from metronome_worker.plan.decode import decode_config
from metronome_worker.plan.model import SettingProblem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Struct

    from metronome_worker.plan.model import ProcessorSettings

ProcessorKind = Literal["codec", "preprocessor", "postprocessor"]

_CONFIG_TYPES: Final[Mapping[ProcessorKind, Mapping[str, type[Struct]]]] = {
    "codec": {kind.name: kind.config_type for kind in CODECS},
    "preprocessor": {kind.name: kind.config_type for kind in PREPROCESSORS},
    "postprocessor": {kind.name: kind.config_type for kind in POSTPROCESSORS},
}


def known_codecs() -> tuple[str, ...]:
    return tuple(_CONFIG_TYPES["codec"])


def known_preprocessors() -> tuple[str, ...]:
    return tuple(_CONFIG_TYPES["preprocessor"])


def known_postprocessors() -> tuple[str, ...]:
    return tuple(_CONFIG_TYPES["postprocessor"])


def check_processor(kind: ProcessorKind, settings: ProcessorSettings, /) -> tuple[SettingProblem, ...]:
    """All that is wrong; paths are below the processor's ``config``, empty where its name is meant."""
    known = _CONFIG_TYPES[kind]
    config_type = known.get(settings.name)
    if config_type is None:
        message = f"there is no {kind} called `{settings.name}`"
        return (SettingProblem(path=(), message=message, hint=_hint(settings.name, tuple(known)), is_unknown=True),)
    _, problems = decode_config(config_type, settings.config)
    return problems


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = suggest(name, known)
    return f"did you mean `{near}`?" if near else f"there are: {', '.join(known)}"
