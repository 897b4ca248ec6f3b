"""The specification's program through the real parser, resolver, library and connectors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metronome_worker.assembly import check_file
from metronome_worker.connectors.file import FileConfig
from metronome_worker.language.diagnostics import Severity
from tests.unit.plan.test_seed_rule import SEED

AS_PRINTED = SEED.replace("library::stop", "connectors::exit").replace("library::write_file", "integration::write_file")


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    path = tmp_path / "seed.troy"
    path.write_text(AS_PRINTED)
    return path


def test_seed_is_the_printed_one() -> None:
    """Comments and empty lines aside: one connector wrong, two pipelines, four connects."""
    assert len(re.findall(r"^\s*create ", AS_PRINTED, re.MULTILINE)) == 5
    assert "create connector metronome;" in AS_PRINTED and "create connector every_second;" not in AS_PRINTED


def test_seed_gives_two_warnings_and_one_stage(seed: Path) -> None:
    checked = check_file(seed, [])
    assert [(found.severity, found.code) for found in checked.diagnostics] == [
        (Severity.WARNING, "needless-create"),
        (Severity.WARNING, "missing-create"),
    ]
    [flow] = checked.flows
    [stage] = flow.plan.stages
    assert (stage.name, stage.sources, stage.sinks) == ("every_second", ("every_second",), ("exit", "file"))
    assert flow.plan.connectors["file"].config == FileConfig(path="out.log", mode="truncate")


def test_seed_is_refused_when_strict(seed: Path) -> None:
    checked = check_file(seed, [], strict=True)
    assert checked.has_errors and not checked.flows
