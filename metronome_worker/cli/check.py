"""`metronome check`: all that is wrong in flow files, without running anything."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metronome_worker.assembly import check_file
from metronome_worker.cli.options import strict_option
from metronome_worker.cli.report import show_diagnostics, show_summary
from metronome_worker.settings import read_environment

if TYPE_CHECKING:
    from metronome_worker.language.diagnostics import Diagnostic


@click.command()
@click.argument("flows", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FLOW...")
@strict_option
@click.option("--json", "as_json", is_flag=True, help="One JSON record a line on stdout.")
def check(flows: tuple[Path, ...], *, strict: bool, as_json: bool) -> int:
    """Check flow files: every error and warning, with its place and what to do about it.

    Status 1 when there are errors.
    """
    environment = read_environment(os.environ)
    diagnostics: list[Diagnostic] = []
    has_errors = False
    for path in flows:
        checked = check_file(path, environment.module_path, strict=strict)
        show_diagnostics(checked.diagnostics, checked.sources, as_json=as_json)
        diagnostics += checked.diagnostics
        has_errors |= checked.has_errors
        if not checked.has_errors and not as_json:
            names = ", ".join(flow.plan.flow for flow in checked.flows)
            click.echo(f"{path}: {click.style('ok', fg='green') if sys.stdout.isatty() else 'ok'} ({names})")
    if not as_json:
        show_summary(diagnostics)
    return 1 if has_errors else 0
