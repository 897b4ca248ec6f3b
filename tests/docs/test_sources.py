"""Every flow, expression and piece of Python on a page, and every example in a docstring, does what is said."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import msgspec
import pytest

import metronome_worker
from metronome_worker.assembly import check_file
from metronome_worker.language.diagnostics import Diagnostic
from metronome_worker.language.loading import load_program
from metronome_worker.library.functions import FUNCTIONS, signatures
from metronome_worker.runtime.compiler import evaluate
from metronome_worker.runtime.errors import EvalError
from tests.docs.pages import PAGES, REPOSITORY, Block, blocks_of

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
LANGUAGES = {"console", "troy", "tremor", "python", "text", "sh", "ini"}

_FLOW = """\
define flow main
flow
  use std::string; use std::type; use std::math; use std::array; use std::record; use std::json;
  define pipeline p args x = ({}) pipeline select event from in into out; end;
end;
deploy flow main;
"""


def blocks_in(language: str) -> list[object]:
    return [pytest.param(block, id=str(block)) for block in BLOCKS if block.language == language]


def test_blocks_are_in_languages_that_a_test_knows() -> None:
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []


@pytest.mark.parametrize("block", blocks_in("troy"))
def test_flows_are_free_of_errors_and_warnings_unless_they_are_to_show_some(block: Block, tmp_path: Path) -> None:
    for other in BLOCKS:
        if other.page == block.page and (name := other.option("file")):
            (tmp_path / name).write_text(other.text, encoding="utf-8")
    flow = tmp_path / (block.option("file") or "flow.troy")
    flow.write_text(block.text, encoding="utf-8")
    diagnostics = check_file(flow, ()).diagnostics
    assert bool(diagnostics) == ("faulty" in block.words), diagnostics


@pytest.mark.parametrize("block", [p for p in blocks_in("tremor") if not p.values[0].option("file")])  # type: ignore[attr-defined]
def test_expressions_have_the_value_or_error_behind_them(block: Block) -> None:
    for line in block.text.splitlines():
        written, mark, said = line.rpartition("  # ")
        assert mark, f"{block}: no value behind {line!r}"
        assert value_of(written.strip()) == said.strip(), f"{block}: {line}"


def value_of(written: str) -> str:
    """The expression's value as JSON, or its error."""
    text = _FLOW.format(written)
    program, found, _ = load_program(text, "flow.troy", lambda _: None, (), signatures())
    if program is None:
        return _first(found)
    [parameter] = program.deployments[0].flow.pipelines["p"].parameters
    assert parameter.default is not None
    try:
        return msgspec.json.encode(evaluate(parameter.default, functions=FUNCTIONS)).decode()
    except EvalError as error:
        return f"error: {error.message}"


def _first(found: list[Diagnostic]) -> str:
    return f"error: {found[0].message}"


@pytest.mark.parametrize("block", blocks_in("python"))
def test_python_on_pages_does_what_is_shown(block: Block) -> None:
    examples = doctest.DocTestParser().get_doctest(block.text, {}, str(block), str(block.page), block.line)
    run_examples(examples)


def modules() -> list[str]:
    found = pkgutil.walk_packages(metronome_worker.__path__, "metronome_worker.")
    # guard.py is a program of its own, which takes a server with it when it ends.
    return ["metronome_worker", *(module.name for module in found if not module.name.endswith(".guard"))]


def test_examples_in_docstrings_are_true() -> None:
    examples = [
        test
        for name in modules()
        for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
        if test.examples
    ]
    assert examples
    for test in examples:
        run_examples(test)


def run_examples(test: doctest.DocTest) -> None:
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_links_and_paths_on_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in link]
    missing = [link for link in links if not (page.parent / link).exists()]
    paths = re.findall(r"`((?:metronome_worker|tests|pipelines|docs|benchmarks)/[\w./-]*)`", text)
    missing += [path for path in paths if not (REPOSITORY / path).exists()]
    assert missing == []


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
def test_anchors_on_a_page_are_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert anchor in anchors_of(page.parent / target if target else page), f"{page.name}: {target}#{anchor}"


def anchors_of(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
