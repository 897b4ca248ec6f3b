"""The shape of the package: imports go one way, what is pure stays pure, nothing grows without end.

The order of the layers is stated once, in ``docs/architecture.md``, and read from there.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGE: Final = REPOSITORY / "metronome_worker"
MODULES: Final = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
TREES: Final = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

MOST_LINES: Final = 400
PURE_LAYERS: Final = ("language", "plan", "runtime", "library")

#: Modules that would bring I/O, a clock, randomness or a log into what is pure.
IMPURE: Final = frozenset(
    {
        "asyncio", "concurrent", "datetime", "fcntl", "http", "io", "logging", "multiprocessing", "os", "pathlib",
        "random", "redis", "secrets", "select", "shutil", "signal", "socket", "structlog", "subprocess", "tempfile",
        "threading", "time", "urllib", "uuid", "uvloop",
    }
)  # fmt: skip
IMPURE_CALLS: Final = frozenset({"open", "print", "input", "exec", "eval"})

#: ``tables`` writes the parser's table for whoever changed the grammar, when it is run as a program.
ALLOWED: Final = {("metronome_worker.language.tables", "pathlib")}


def layers() -> list[list[str]]:
    """The layers from top to bottom, as the page lists them."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```text layers\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line.split() for line in block.splitlines()]


RANKS: Final = {name: rank for rank, names in enumerate(layers()) for name in names}


def layer_of(module: str) -> str:
    """The folder below the package, or the module in it; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports_at_run_time(tree: ast.Module) -> Iterator[str]:
    """What is imported anywhere in a module, except for types only."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        match node:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=orelse):
                pending += orelse
                continue
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise AssertionError("imports are absolute here")
        pending += ast.iter_child_nodes(node)


def test_every_part_of_the_package_stands_in_the_list_of_layers() -> None:
    assert {layer_of(module) for module in MODULES} - {""} == set(RANKS)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_downwards(module: str) -> None:
    own = layer_of(module)
    for imported in imports_at_run_time(TREES[module]):
        other = layer_of(imported) if imported.startswith("metronome_worker.") else ""
        if other in RANKS and other != own:
            assert own, f"the package itself imports {imported}"
            assert RANKS[other] > RANKS[own], f"{module} imports {imported}, which is not below it"


def test_types_are_imported_for_checking_only() -> None:
    tree = ast.parse("if TYPE_CHECKING:\n    import a.b\nelse:\n    import c\ndef f():\n    from d import e\n")
    assert sorted(imports_at_run_time(tree)) == ["c", "d.e"]


def pure_modules() -> list[str]:
    """Those of the pure layers, and all that call themselves pure."""
    return [
        module
        for module in MODULES
        if layer_of(module) in PURE_LAYERS or re.search(r"\bPure\b", ast.get_docstring(TREES[module]) or "")
    ]


@pytest.mark.parametrize("module", pure_modules())
def test_what_is_pure_touches_nothing_outside(module: str) -> None:
    imported = {name.split(".")[0] for name in imports_at_run_time(TREES[module])}
    assert {name for name in imported & IMPURE if (module, name) not in ALLOWED} == set()
    for node in ast.walk(TREES[module]):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                assert name not in IMPURE_CALLS, f"{module}:{node.lineno} calls {name}"


def test_more_than_the_pure_layers_is_pure() -> None:
    beyond = {layer_of(module) for module in pure_modules()} - set(PURE_LAYERS)
    assert {"ticker", "worker"} <= beyond


@pytest.mark.parametrize("module", MODULES)
def test_modules_say_what_they_are_and_stay_short(module: str) -> None:
    assert ast.get_docstring(TREES[module]), f"{module} has no docstring"
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_every_folder_with_modules_is_a_package_with_a_promise() -> None:
    folders = {path.parent for path in MODULES.values()}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []
