from __future__ import annotations

from enum import Enum

import msgspec
import pytest

from metronome_worker.language.parser import parse_module
from metronome_worker.language.source import Span
from metronome_worker.language.syntax import Node
from tests.unit.language.case_files import CASES, hold_to

SYNTAX = sorted((CASES / "syntax").glob("*.troy"))


def outline(value, text, depth=0, label=""):
    """The tree as indented lines; each node with the text that its span covers."""
    lead = "  " * depth + (f"{label}: " if label else "")
    match value:
        case Node():
            covered = " ".join(text[value.span.start : value.span.end].split())
            shown = covered if len(covered) <= 60 else f"{covered[:40]} … {covered[-17:]}"
            lines = [f"{lead}{type(value).__name__}  «{shown}»"]
            for name in type(value).__struct_fields__:
                field = getattr(value, name)
                if not isinstance(field, Span):
                    lines += outline(field, text, depth + 1, name)
            return lines
        case tuple() if value and not all(isinstance(item, str) for item in value):
            return [f"{lead}", *(line for item in value for line in outline(item, text, depth + 1))]
        case Enum():
            return [f"{lead}{value.name}"]
        case _:
            return [f"{lead}{value!r}"]


@pytest.mark.parametrize("file", SYNTAX, ids=lambda file: file.stem)
def test_every_construct_parses_to_the_tree_of_the_case(file):
    text = file.read_text(encoding="utf-8")
    module, diagnostics = parse_module(text, file.name)
    assert diagnostics == []
    tree = "\n".join(line.rstrip() for line in outline(module, text)) + "\n"
    hold_to(file.with_suffix(".expected"), tree)


@pytest.mark.parametrize("file", SYNTAX, ids=lambda file: file.stem)
def test_children_lie_within_their_parents(file):
    module, _ = parse_module(file.read_text(encoding="utf-8"), file.name)
    pending = [module]
    while pending:
        node = pending.pop()
        for value in msgspec.structs.asdict(node).values():
            for child in value if isinstance(value, tuple) else (value,):
                if isinstance(child, Node):
                    assert node.span.start <= child.span.start <= child.span.end <= node.span.end
                    pending.append(child)
