"""The case files of the language: where they are, and the functions and the reader that they are run with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from metronome_worker.language import Diagnostic, Program, load_program, render
from metronome_worker.library.modules import LIBRARY_MODULES, with_library

CASES: Final = Path(__file__).parents[2] / "cases"

FUNCTIONS: Final = {
    "std::string::lowercase": (1, 1),
    "std::string::uppercase": (1, 1),
    "std::string::substr": (2, 3),
    "std::math::max": (1, None),
}


def read(path: str) -> str | None:
    file = Path(path)
    return file.read_text(encoding="utf-8") if file.is_file() else None


def load(file: Path) -> tuple[Program | None, list[Diagnostic], dict[str, str]]:
    return load_program(
        file.read_text(encoding="utf-8"), str(file), with_library(read), [], FUNCTIONS, known_modules=LIBRARY_MODULES
    )


def rendered(file: Path) -> str:
    """All diagnostics of a file as a person sees them, free of where the repository lies."""
    _, diagnostics, sources = load(file)
    text = "".join(render(diagnostic, sources) + "\n\n" for diagnostic in diagnostics)
    return text.replace(f"{file.parent}/", "")


def hold_to(expected: Path, actual: str) -> None:
    """Compare with the file; ``UPDATE_CASES=1`` writes it instead, for a person to read in the diff."""
    if os.environ.get("UPDATE_CASES"):
        expected.write_text(actual, encoding="utf-8")
    assert actual == expected.read_text(encoding="utf-8")
