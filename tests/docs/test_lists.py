"""Lists on the pages are complete, and hold nothing that is not there."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import click
import msgspec
import pytest

from metronome_worker.cli.main import metronome
from metronome_worker.connectors.codecs import known_codecs, known_postprocessors, known_preprocessors
from metronome_worker.connectors.registry import builtin_kinds
from metronome_worker.library.functions import FUNCTIONS
from metronome_worker.library.modules import LIBRARY_MODULES
from metronome_worker.settings import LOG_LEVELS, TickerSettings, WorkerSettings
from tests.docs.pages import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "metronome_worker").rglob("*.py"))}
OUTCOMES = ("started", "changed", "unchanged", "leaving")
#: Its level is chosen where it is logged.
SUPERSEDED = ("flow_superseded", "warning")


def page(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """What stands between a heading and the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    assert f"\n{heading}\n" in text, heading
    behind = text.split(f"\n{heading}\n", 1)[1]
    return re.split(rf"^#{{1,{level}}} ", behind, maxsplit=1, flags=re.MULTILINE)[0]


def names_in_first_column(text: str) -> list[str]:
    return [
        name for row in re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)
    ]


def logged() -> Iterator[tuple[str, str]]:
    """Each event that the package logs, with its level."""
    for path, text in SOURCES.items():
        for node in ast.walk(ast.parse(text, str(path))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        value=(ast.Name() | ast.Attribute()) as owner,
                        attr="debug" | "info" | "warning" | "error" as level,
                    ),
                    args=[first, *_],
                ) if (owner.id if isinstance(owner, ast.Name) else owner.attr) in ("log", "_log"):
                    match first:
                        case ast.Constant(value=str(event)):
                            yield event, level
                        case _:
                            assert ast.unparse(first) == "'flow_' + deployed.outcome"
                            yield from ((f"flow_{outcome}", level) for outcome in OUTCOMES)


def test_commands_are_listed() -> None:
    table = section(page("operations.md"), "## Commands")
    listed = [words.split()[1] for words in names_in_first_column(table)]
    assert set(listed) == set(metronome.list_commands(click.Context(metronome)))


def test_log_events_are_listed_with_their_levels() -> None:
    table = section(page("operations.md"), "## The log")
    listed = {}
    for names, levels in re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", table, re.MULTILINE):
        events = re.findall(r"`([^`]+)`", names)
        each = levels.split(", ")
        listed |= dict(zip(events, each if len(each) > 1 else each * len(events), strict=True))
    assert listed == dict([*logged(), SUPERSEDED])


def test_environment_variables_are_listed() -> None:
    used = {name for text in SOURCES.values() for name in re.findall(r"\bMETRONOME_[A-Z_]+\b", text)}
    assert set(names_in_first_column(section(page("operations.md"), "## Environment variables"))) == used


def test_settings_are_listed_with_their_values() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", section(page("operations.md"), "## Settings"), re.MULTILINE)
    built_in = [msgspec.to_builtins(settings).items() for settings in (TickerSettings(), WorkerSettings())]
    assert rows == [(name, str(value)) for settings in built_in for name, value in settings]


def test_log_levels_are_named() -> None:
    named = section(page("operations.md"), "## The log").split("`--log-level` takes ", 1)[1].split(".", 1)[0]
    assert tuple(re.findall(r"`(\w+)`", named)) == LOG_LEVELS


def test_kinds_of_connectors_have_a_section_each() -> None:
    headings = set(re.findall(r"^## `?(\w+)`?$", page("connectors.md"), re.MULTILINE))
    assert set(builtin_kinds()) <= headings


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("### Codecs", known_codecs()),
        ("### Preprocessors", known_preprocessors()),
        ("### Postprocessors", known_postprocessors()),
    ],
)
def test_codecs_and_processors_are_listed(heading: str, known: tuple[str, ...]) -> None:
    assert set(names_in_first_column(section(page("connectors.md"), heading))) == set(known)


def test_modules_of_the_library_are_listed() -> None:
    headings = re.findall(r"^### `([\w:]+)`$", section(page("connectors.md"), "## The library"), re.MULTILINE)
    assert sorted(headings) == sorted(LIBRARY_MODULES)


def test_functions_are_listed_with_what_they_say_of_themselves() -> None:
    listed: dict[str, str] = {}
    for module, text in re.findall(r"^### `(std::\w+)`\n(.*?)(?=^#|\Z)", page("language.md"), re.MULTILINE | re.DOTALL):
        for name, said in re.findall(r"^\| `(\w+)\([^|]*\)` \| (.*) \|$", text, re.MULTILINE):
            listed[f"{module}::{name}"] = said
    assert listed == {
        name: function.doc.split("\n\n")[0].replace("\n", " ").replace("``", "`")
        for name, function in FUNCTIONS.items()
    }
