"""Each script says in its header what it takes, and takes what it says."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from metronome_worker.broker.scripts import NAMES, script

COMMENT = re.compile(r"^--.*$", re.MULTILINE)


def header_and_body(name: str) -> tuple[str, str]:
    text = script(name).text
    end = re.search(r"^(?!--)", text, re.MULTILINE)
    assert end is not None
    return text[: end.start()], COMMENT.sub("", text[end.start() :])


def declared(header: str, what: str) -> tuple[set[int], int | None]:
    """The indices that a header gives for KEYS or ARGV, and from where on it is open."""
    single = {int(n) for n in re.findall(rf"^-- {what}\[(\d+)\]", header, re.MULTILINE)}
    open_from = re.search(rf"^-- {what}\[(\d+)\.\.\]", header, re.MULTILINE)
    return single, int(open_from.group(1)) if open_from else None


def test_every_file_is_known_and_every_name_has_a_file() -> None:
    files = (resources.files("metronome_worker.broker") / "lua").iterdir()
    assert {file.name.removesuffix(".lua") for file in files} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", ["KEYS", "ARGV"])
def test_header_and_use_agree(name: str, what: str) -> None:
    header, body = header_and_body(name)
    single, open_from = declared(header, what)
    used = {int(n) for n in re.findall(rf"{what}\[(\d+)\]", body)}
    unused = single - used
    undeclared = {n for n in used - single if open_from is None or n < open_from}
    assert not undeclared, f"{name}: {what} used but not declared"
    assert not unused, f"{name}: {what} declared but not used"
    is_computed = re.search(rf"{what}\[[^\d\]]|#{what}", body) is not None
    assert is_computed == (open_from is not None), f"{name}: open-ended {what} must be declared as [n..]"


@pytest.mark.parametrize("name", NAMES)
def test_header_says_what_is_returned_and_why(name: str) -> None:
    header, _ = header_and_body(name)
    assert re.search(r"^-- RETURNS\s+\S", header, re.MULTILINE)
    assert re.search(r"^-- WHY\s+\S", header, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_scripts_build_no_key_names(name: str) -> None:
    _, body = header_and_body(name)
    assert not re.search(r"redis\.p?call\('[A-Z]+',\s*'[^']*'\s*\.\.", body)
    assert "metronome:" not in body
