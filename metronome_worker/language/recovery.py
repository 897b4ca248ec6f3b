"""After a syntax error: where the statement ends that could not be parsed, and which blocks are open.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metronome_worker.language.tokens import END_OF_FILE, STATEMENT_STARTS, Token

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMING: Final = {
    "FLOW": frozenset({"DEFINE", "DEPLOY"}),
    "PIPELINE": frozenset({"DEFINE", "CREATE", "SLASH"}),
    "SCRIPT": frozenset({"DEFINE", "CREATE"}),
}
"""Words that open a block, except behind these."""

_REACH: Final = 500
"""So many tokens are looked at for an ``of``: text that is no program must not cost its square."""

_OPENING: Final = frozenset({"MATCH", "FOR", "PATCH"})
"""Words that open a block where an ``of`` comes before the statement's end."""


def opens_block(tokens: Sequence[Token], index: int) -> bool:
    """Whether the token at ``index`` begins something that an ``end`` closes."""
    kind = tokens[index].kind
    before = tokens[index - 1].kind if index else ""
    if kind == "WITH":
        return not _is_function_head(tokens, index)
    if kind in _OPENING:
        return _has_of(tokens, index)
    return kind == "FN" or (kind in _NAMING and before not in _NAMING[kind])


def open_blocks(tokens: Sequence[Token], start: int, stop: int) -> list[Token]:
    """The openers between ``start`` and ``stop`` that no ``end`` there closes, outermost first."""
    blocks: list[Token] = []
    for index in range(start, stop):
        if opens_block(tokens, index):
            blocks.append(tokens[index])
        elif tokens[index].kind == "END" and blocks:
            blocks.pop()
    return blocks


def statement_end(tokens: Sequence[Token], start: int, error: int) -> int:
    """The index where parsing can go on: the ``;`` or ``end`` behind the statement, or the next statement.

    ``start`` is the index of the statement's first token, ``error`` of the one that did not fit.
    """
    blocks = open_blocks(tokens, start, error)
    for index in range(error, len(tokens)):
        kind = tokens[index].kind
        if kind == END_OF_FILE:
            return index
        if index > start and kind in STATEMENT_STARTS and (not blocks or blocks[-1].kind == "WITH"):
            return index
        if not blocks and kind in ("SEMICOLON", "END"):
            return index
        if opens_block(tokens, index):
            blocks.append(tokens[index])
        elif kind == "END":
            blocks.pop()
    return len(tokens) - 1


def _has_of(tokens: Sequence[Token], index: int) -> bool:
    for token in tokens[index + 1 : index + 1 + _REACH]:
        if token.kind in ("OF", "SEMICOLON", "END"):
            return token.kind == "OF"
    return False


def _is_function_head(tokens: Sequence[Token], index: int) -> bool:
    """Whether a ``with`` belongs to ``fn name(…) with``, whose block the ``fn`` has opened already."""
    if index == 0 or tokens[index - 1].kind != "RIGHT_PARENTHESIS":
        return False
    while index and tokens[index].kind != "LEFT_PARENTHESIS":
        index -= 1
    return index >= 2 and tokens[index - 2].kind == "FN"
