from __future__ import annotations

import re

import pytest

from metronome_worker.language.diagnostics import Severity
from tests.unit.language.case_files import CASES, hold_to, load, rendered

ERRORS = sorted((CASES / "errors").glob("*.troy"))


@pytest.mark.parametrize("file", ERRORS, ids=lambda file: file.stem)
def test_every_error_is_told_as_the_case_says(file):
    _, diagnostics, _ = load(file)
    assert any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    hold_to(file.with_suffix(".expected"), rendered(file))


def test_every_code_has_a_case():
    package = CASES.parents[1] / "metronome_worker" / "language"
    sources = "".join(file.read_text(encoding="utf-8") for file in package.glob("*.py"))
    codes = set(re.findall(r'(?:\.error|\.warning|\.report)\(\s*"([a-z-]+)"', sources))
    seen = {diagnostic.code for file in ERRORS for diagnostic in load(file)[1]}
    assert len(codes) > 20
    assert seen == codes
