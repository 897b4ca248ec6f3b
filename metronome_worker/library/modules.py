"""The library's modules: `.tremor` files that are shipped with the package, read as its data."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Final

from metronome_worker.language.modules import LIBRARY

if TYPE_CHECKING:
    from metronome_worker.language.modules import Reader

LIBRARY_MODULES: Final = ("integration", "tremor::connectors", "tremor::pipelines")
"""The names of all modules; a test holds them to the files."""


def read_library(path: str) -> str | None:
    """The text of the file at a path like ``<library>/integration.tremor``, or None when the library has none."""
    prefix = f"{LIBRARY}/"
    if not path.startswith(prefix) or not path.endswith(".tremor"):
        return None
    module = path[len(prefix) : -len(".tremor")].replace("/", "::")
    if module not in LIBRARY_MODULES:
        return None
    return resources.files(__package__).joinpath(*path[len(prefix) :].split("/")).read_text(encoding="utf-8")


def with_library(reader: Reader) -> Reader:
    """The reader, for the library's paths too."""

    def read(path: str) -> str | None:
        return read_library(path) if path.startswith(f"{LIBRARY}/") else reader(path)

    return read
