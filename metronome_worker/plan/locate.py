"""Finds the piece of text that a value of a setting comes from.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metronome_worker.language.syntax import (
    Expression,
    FieldSegment,
    ListLiteral,
    Literal,
    Path,
    RecordLiteral,
    ReservedRoot,
    Root,
    Setting,
)

if TYPE_CHECKING:
    from metronome_worker.language.source import Span


def span_of(expression: Expression, path: tuple[str, ...], *, is_key: bool, given: tuple[Setting, ...]) -> Span:
    """The span of what stands at ``path`` in ``expression``, or of the last step towards it that is written down.

    With ``is_key`` it is the key's, else the value's.  A value that is ``args.x`` is followed to the ``with x = …``
    of the creation (``given``), since that is where its author can change it.
    """
    here = expression
    for depth, step in enumerate(path):
        here = _follow_argument(here, given)
        found = _step(here, step)
        if found is None:
            return here.span
        key_span, here = found
        if is_key and depth == len(path) - 1:
            return key_span
    return _follow_argument(here, given).span


def _step(expression: Expression, step: str) -> tuple[Span, Expression] | None:
    if isinstance(expression, RecordLiteral):
        for field in reversed(expression.fields):  # of a key written twice the last one counts
            if isinstance(field.key, Literal) and field.key.value == step:
                return field.key.span, field.value
    if isinstance(expression, ListLiteral) and step.isdecimal() and int(step) < len(expression.items):
        item = expression.items[int(step)]
        return item.span, item
    return None


def _follow_argument(expression: Expression, given: tuple[Setting, ...]) -> Expression:
    match expression:
        case Path(root=ReservedRoot(root=Root.ARGS), segments=(FieldSegment(name=name),)):
            return next((setting.value for setting in given if setting.name.text == name), expression)
        case _:
            return expression
