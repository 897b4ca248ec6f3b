"""What people see when something is wrong: diagnostics with a caret, errors as one message, never a traceback."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click
import msgspec

from metronome_worker.errors import FlowError, MetronomeError
from metronome_worker.language.diagnostics import Severity, render, to_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from metronome_worker.language.diagnostics import Diagnostic

_ERROR = click.style("error", fg="red", bold=True)


def show_diagnostics(diagnostics: Sequence[Diagnostic], sources: Mapping[str, str], *, as_json: bool = False) -> None:
    """On stderr for people, or on stdout as one JSON record a line."""
    for diagnostic in diagnostics:
        if as_json:
            click.echo(msgspec.json.encode(to_record(diagnostic, sources)).decode())
        else:
            click.echo(render(diagnostic, sources, colour=sys.stderr.isatty()), err=True)
            click.echo(err=True)


def show_summary(diagnostics: Sequence[Diagnostic]) -> None:
    """How many errors and warnings there were, on stderr; nothing when there were none."""
    errors = sum(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    warnings = len(diagnostics) - errors
    parts = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in ((errors, "error"), (warnings, "warning"))]
    if diagnostics:
        click.echo(", ".join(part for part in parts if not part.startswith("0 ")), err=True)


def show_error(error: BaseException) -> int:
    """Say on stderr what went wrong; returns the status to leave with."""
    if isinstance(error, FlowError):
        show_diagnostics(error.diagnostics, error.sources)
        show_summary(error.diagnostics)
        return error.exit_status
    if isinstance(error, MetronomeError):
        click.echo(f"{_ERROR}: {error}", err=True)
        return error.exit_status
    click.echo(f"{_ERROR}: this is a bug in metronome-worker: {_place(error)}", err=True)
    click.echo("  please report it with the flow file; METRONOME_DEBUG=1 shows where it happened", err=True)
    return MetronomeError.exit_status


def _place(error: BaseException) -> str:
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    where = "" if step is None else f" ({step.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}, line {step.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"
