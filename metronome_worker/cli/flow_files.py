"""Flow files named on the command line, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from metronome_worker.assembly import check_file
from metronome_worker.cli.report import show_diagnostics
from metronome_worker.errors import FlowError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from metronome_worker.assembly import CheckedFlow


def checked_flows(paths: Sequence[Path], module_path: Sequence[str], *, strict: bool) -> list[CheckedFlow]:
    """The flows of all files.  Warnings are shown; errors are raised, all together."""
    files = [check_file(path, module_path, strict=strict) for path in paths]
    problems = [diagnostic for file in files for diagnostic in file.diagnostics]
    texts = {name: text for file in files for name, text in file.sources.items()}
    if any(file.has_errors for file in files):
        raise FlowError(problems, texts)
    for file in files:
        show_diagnostics(file.diagnostics, file.sources)
    flows = [flow for file in files for flow in file.flows]
    names = [flow.plan.flow for flow in flows]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise click.UsageError(f"flow {repeated[0]} is in more than one of the files: give one of them another name")
    return flows
