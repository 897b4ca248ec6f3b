"""The way from the text of a main file to its program.  Pure: files are read by the reader that is passed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.language.diagnostics import Diagnostic, Diagnostics
from metronome_worker.language.modules import (
    LIBRARY,
    SEARCH_PATH,
    Loader,
    ModuleSearch,
    Reader,
    Root,
    namespaces_of,
    split_main,
)
from metronome_worker.language.resolver import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from metronome_worker.language.program import Program


def load_program(
    main_text: str,
    main_name: str,
    reader: Reader,
    search_path: Sequence[str],
    functions: Mapping[str, tuple[int, int | None]],
    *,
    known_modules: Iterable[str] = (),
) -> tuple[Program | None, list[Diagnostic], dict[str, str]]:
    """The program, all that is wrong with it, and the sources that were read, for rendering.

    With errors it is what is left of the program, or None where the files could not be read whole.
    ``main_name`` is the path of the main file; ``reader`` is asked for paths in its folder, in those of
    ``search_path``, and below ``<library>/``.  ``functions`` gives the least and the most arguments (None: any) by
    full name.  ``known_modules`` are only suggested.
    """
    folder, source = split_main(main_name)
    roots = (Root("", folder), *(Root(SEARCH_PATH, entry) for entry in search_path), Root(LIBRARY, LIBRARY))
    search = ModuleSearch(reader, roots, namespaces_of(functions), tuple(known_modules))
    return _load(main_text, source, search, functions)


def resolve_bundle(
    sources: Mapping[str, str], main: str, functions: Mapping[str, tuple[int, int | None]]
) -> tuple[Program | None, list[Diagnostic]]:
    """The program again, from ``Program.sources`` alone; ``main`` is the name of the main file in them."""
    roots = tuple(Root(label, label) for label in ("", SEARCH_PATH, LIBRARY))
    search = ModuleSearch(sources.get, roots, namespaces_of(functions))
    program, diagnostics, _ = _load(sources[main], main, search, functions)
    return program, diagnostics


def _load(
    text: str, source: str, search: ModuleSearch, functions: Mapping[str, tuple[int, int | None]]
) -> tuple[Program | None, list[Diagnostic], dict[str, str]]:
    diagnostics = Diagnostics()
    loader = Loader(search, diagnostics)
    loader.load_main(text, source)
    if diagnostics.has_errors:
        # Names in files that could not be read whole would only be reported as unknown.
        return None, diagnostics.in_order(), loader.sources
    program, found = resolve(loader.modules, loader.sources, functions)
    diagnostics.extend(found)
    return program, diagnostics.in_order(), loader.sources
