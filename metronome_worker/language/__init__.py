"""Text to checked program: parse, load modules, resolve names, say all that is wrong.

``load_program`` does it for a file, ``resolve_bundle`` for the sources of a program that was loaded before.
"""

from metronome_worker.language.diagnostics import Diagnostic, Severity, render, suggest, to_record
from metronome_worker.language.loading import load_program, resolve_bundle
from metronome_worker.language.parser import parse_module
from metronome_worker.language.program import Program
from metronome_worker.language.resolver import resolve

__all__ = [
    "Diagnostic",
    "Program",
    "Severity",
    "load_program",
    "parse_module",
    "render",
    "resolve",
    "resolve_bundle",
    "suggest",
    "to_record",
]
