"""Finding and loading the modules that a program uses.  Pure: whoever calls passes in how files are read.

A module ``a::b`` is the file ``a/b`` with one of ``EXTENSIONS``, searched for in the folder of the main file, then in
each entry of the search path, then in the library.  Files are called by names that do not depend on the machine, so
that the sources of a program are all it takes to resolve it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from metronome_worker.language.diagnostics import Diagnostics, did_you_mean
from metronome_worker.language.names import has_valid_characters
from metronome_worker.language.parser import parse_module
from metronome_worker.language.syntax import DefineFlow, DefinePipeline, ModuleText, QualifiedName, Use

if TYPE_CHECKING:
    from metronome_worker.language.source import Span

Reader = Callable[[str], str | None]
"""Gives the text of the file at a path, or None when there is no such file."""

ModulePath = tuple[str, ...]

LIBRARY: Final = "<library>"
"""The folder of the library, for the reader and in names of sources."""

SEARCH_PATH: Final = "<path>"
"""Stands for the entry of the search path in names of sources."""

EXTENSIONS: Final = (".tremor", ".trickle", ".troy")
_MAX_CHAIN: Final = 50


class Root(Struct, frozen=True):
    """A place to search: ``folder`` as the reader knows it, ``label`` as it is called in names of sources."""

    label: str
    folder: str


class LoadedModule(Struct, frozen=True):
    """One file: ``path`` is what programs call it (empty for the main file), ``source`` its name in spans."""

    path: ModulePath
    source: str
    tree: ModuleText


class ModuleSearch(Struct, frozen=True):
    """Where modules are: files below ``roots``; ``namespaces`` are modules made of functions alone, without a file."""

    reader: Reader
    roots: tuple[Root, ...]
    namespaces: frozenset[ModulePath]
    known: tuple[str, ...] = ()

    def find(self, path: ModulePath) -> tuple[str, str] | None:
        """The name and the text of the module's file."""
        if not all(map(has_valid_characters, path)):
            return None  # no name may lead out of the folders that are searched
        for root in self.roots:
            for extension in EXTENSIONS:
                file = "/".join(path) + extension
                text = self.reader(_join(root.folder, file))
                if text is not None:
                    return _join(root.label, file), text
        return None

    def suggestions(self) -> Iterator[str]:
        yield from self.known
        yield from ("::".join(path) for path in self.namespaces)


class Loader:
    """Loads the main file and all that it uses, dependencies first, into ``modules`` and ``sources``."""

    def __init__(self, search: ModuleSearch, diagnostics: Diagnostics) -> None:
        self._search, self._diagnostics = search, diagnostics
        self._sources_of: dict[ModulePath, str] = {}
        self.modules: list[LoadedModule] = []
        self.sources: dict[str, str] = {}

    def load_main(self, text: str, source: str) -> None:
        self._load(text, source, (), ())

    def _load(self, text: str, source: str, path: ModulePath, chain: tuple[str, ...]) -> None:
        self.sources[source] = text
        tree, found = parse_module(text, source)
        self._diagnostics.extend(found)
        if tree is None:
            return
        for use in uses_of(tree):
            self._load_used(use, (*chain, source))
        self.modules.append(LoadedModule(path, source, tree))

    def _load_used(self, use: Use, chain: tuple[str, ...]) -> None:
        path = (*use.module.modules, use.module.name)
        if path not in self._sources_of:
            found = self._search.find(path)
            if found is None:
                if path not in self._search.namespaces:
                    self._report_missing(use.module, path)
                return
            if found[0] in chain or len(chain) > _MAX_CHAIN:
                self._report_cycle(use.span, (*chain, found[0]))
                return
            self._sources_of[path] = found[0]
            if found[0] not in self.sources:
                self._load(found[1], found[0], path, chain)
        elif self._sources_of[path] in chain:
            self._report_cycle(use.span, (*chain, self._sources_of[path]))

    def _report_missing(self, name: QualifiedName, path: ModulePath) -> None:
        file = "/".join(path) + EXTENSIONS[0]
        places = dict.fromkeys(_join(root.folder, file) for root in self._search.roots)
        searched = f"searched: {', '.join(places)} (and the same with {' or '.join(EXTENSIONS[1:])})"
        if not all(map(has_valid_characters, path)):
            searched = "a module is a file whose name is a name of the language; the search never leaves its folders"
        hints = [hint for hint in (self._hint_for_missing(name, path), searched) if hint]
        self._diagnostics.error("unknown-module", f"there is no module `{name}`", name.span, hint="\n".join(hints))

    def _hint_for_missing(self, name: QualifiedName, path: ModulePath) -> str:
        inner = sorted(known for known in self._search.suggestions() if known.startswith(f"{name}::"))
        if inner:
            return f"`{name}` is no module itself; it holds {', '.join(f'`{module}`' for module in inner[:5])}"
        if len(path) > 1 and self._search.find(path[:-1]):
            holder = "::".join(name.modules)
            return f"`use` takes a module, not what is in it: `use {holder};`, then `{path[-2]}::{path[-1]}`"
        return did_you_mean(str(name), self._search.suggestions())

    def _report_cycle(self, span: Span, chain: Sequence[str]) -> None:
        if chain[-1] not in chain[:-1]:
            self._diagnostics.error("too-deep", f"more than {_MAX_CHAIN} modules use one another in a row", span)
            return
        circle = chain[chain.index(chain[-1]) :]
        self._diagnostics.error(
            "cyclic-use",
            f"modules use each other in a circle: {' → '.join(circle)}",
            span,
            hint="move what both need into a module of its own",
        )


def uses_of(tree: ModuleText) -> Iterator[Use]:
    """Every ``use`` of a file, those in flows and pipelines included."""
    pending: list[object] = list(reversed(tree.statements))
    while pending:
        match pending.pop():
            case Use() as use:
                yield use
            case DefineFlow(statements=inner) | DefinePipeline(statements=inner):
                pending.extend(reversed(inner))


def namespaces_of(functions: Iterable[str]) -> frozenset[ModulePath]:
    """The modules that exist because functions are in them: ``std`` and ``std::string`` of ``std::string::len``."""
    paths = {tuple(name.split("::")) for name in functions}
    return frozenset(path[:length] for path in paths for length in range(1, len(path)))


def split_main(name: str) -> tuple[str, str]:
    """The folder of the main file, and what it is called in spans."""
    folder, slash, file = name.rpartition("/")
    return (folder or slash), file


def _join(folder: str, file: str) -> str:
    return f"{folder.rstrip('/')}/{file}" if folder else file
