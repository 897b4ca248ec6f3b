"""Every command on a page prints what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.not_run import NOT_RUN
from tests.docs.pages import PAGES, Command, blocks_of, commands_of
from tests.docs.session import Session
from tests.docs.volatile import RULES, steady
from tests.harness.servers import flush

#: Shows a flow between two ticks: when the next one comes too early, the page is run again.
_ATTEMPTS = 3


def commands_on(page: Path) -> list[Command]:
    return [c for block in blocks_of(page) if block.language == "console" for c in commands_of(block)]


def ways_to_run(page: Path) -> list[str]:
    """The page about redis-cli is run by the real one, where there is one, and by ours; the others by ours."""
    return ["ours", "real"] if page.name == "redis-cli.md" else ["ours"]


def is_as_shown(command: Command, printed: str) -> bool:
    """Compared when ``unordered`` lines are sorted, and those with the word of ``maybe=WORD`` are left out."""
    expected, found = steady(command.expected).splitlines(), steady(printed).splitlines()
    if word := command.block.option("maybe"):
        expected, found = ([line for line in lines if word not in line.split()] for lines in (expected, found))
    if "unordered" in command.block.words:
        expected, found = sorted(expected), sorted(found)
    return expected == found


@pytest.mark.parametrize(
    ("page", "way"),
    [
        pytest.param(page, way, id=f"{page.name}-{way}")
        for page in PAGES
        if commands_on(page)
        for way in ways_to_run(page)
    ],
)
def test_commands_print_what_the_page_shows(page: Path, way: str, tmp_path: Path, valkey_url: str) -> None:
    if way == "real" and shutil.which("redis-cli") is None:
        pytest.skip("no redis-cli on PATH")
    if shutil.which("make") is None:
        pytest.skip("no make on PATH")
    port = urlsplit(valkey_url).port
    assert port is not None
    for attempt in range(_ATTEMPTS):
        flush(valkey_url)
        folder = tmp_path / f"run{attempt}" / "flows"
        folder.mkdir(parents=True)
        with Session(folder, port, is_redis_cli_real=way == "real") as session:
            differing = [(c, printed) for c, printed in session.run(page) if not is_as_shown(c, printed)]
        if not differing or not any(block.option("ticks") for block in blocks_of(page)):
            break
    for command, printed in differing:
        assert steady(printed) == steady(command.expected), str(command)
    assert not differing


def test_commands_that_are_not_run_are_on_some_page() -> None:
    shown = {command.text for page in PAGES for command in commands_on(page)}
    assert set(NOT_RUN) <= shown
    assert all(NOT_RUN.values())


def test_rules_for_what_differs_leave_other_text_alone() -> None:
    for form, _ in RULES.values():
        for text in ("", "main", "42", "id=1", "run=1 revision=1", "127.0.0.1", "1-2", '"triggered"', "2026-01-01"):
            assert re.sub(form, "‹›", text) == text


def test_a_wrong_output_is_noticed() -> None:
    block = blocks_of(PAGES[0])[0]
    command = Command(block=block, line=1, text="", expected="09:00:00.000000 [info     ] leading epoch=1 flow=main\n")
    assert is_as_shown(command, "10:11:12.131415 [info     ] leading epoch=2 flow=main\n")
    assert not is_as_shown(command, "10:11:12.131415 [info     ] leading epoch=2 flow=other\n")
    assert not is_as_shown(command, "10:11:12.131415 [info     ] leading epoch=x flow=main\n")
    assert not is_as_shown(command, "")
