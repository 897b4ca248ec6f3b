"""Syntax errors in words: what was expected, what was found, and the likely cause.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metronome_worker.language.diagnostics import did_you_mean
from metronome_worker.language.recovery import open_blocks
from metronome_worker.language.source import Span, position_of
from metronome_worker.language.tokens import (
    DESCRIPTIONS,
    END_OF_FILE,
    KEYWORDS,
    STATEMENT_STARTS,
    Token,
    describe_found,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from metronome_worker.language.diagnostics import Diagnostics

_EXPRESSION: Final = frozenset(
    {
        "IDENTIFIER", "INTEGER", "FLOAT", "STRING", "STRING_START", "NULL", "TRUE", "FALSE", "LEFT_BRACKET",
        "LEFT_BRACE", "LEFT_PARENTHESIS", "PLUS", "MINUS", "BANG", "NOT", "PRESENT", "ABSENT", "EVENT", "STATE",
        "ARGS", "GROUP", "WINDOW", "META",
    }
)  # fmt: skip
_PATH: Final = frozenset(
    {
        "IDENTIFIER", "LEFT_BRACKET", "LEFT_BRACE", "LEFT_PARENTHESIS", "EVENT", "STATE", "ARGS", "GROUP", "WINDOW",
        "META",
    }
)  # fmt: skip
_OPERATOR: Final = frozenset(
    {
        "OR", "XOR", "AND", "CARET", "AMPERSAND", "EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER",
        "GREATER_EQUAL", "SHIFT_LEFT", "SHIFT_RIGHT", "SHIFT_RIGHT_UNSIGNED", "PLUS", "MINUS", "STAR", "SLASH",
        "PERCENT",
    }
)  # fmt: skip
_CONTINUATION: Final = frozenset({"DOT", "LEFT_BRACKET", "LEFT_PARENTHESIS", "PATH_SEPARATOR", "AS"})
_UNSUPPORTED: Final = {
    "MATCH": "`match`", "FOR": "`for`", "PATCH": "`patch`", "MERGE": "`merge`", "CONST": "constants (`const`)",
    "FN": "functions in the language (`fn`)", "INTRINSIC": "`intrinsic fn`", "LET": "`let`", "EMIT": "`emit`",
    "DROP": "`drop`", "RECUR": "`recur`", "SCRIPT": "scripts", "OPERATOR": "operators", "WINDOW": "windows",
    "GROUP": "`group by`", "SHIFT_LEFT": "binaries (`<< >>`)", "EXTRACTOR": "extractors",
}  # fmt: skip
_DEFINABLE: Final = frozenset({"SCRIPT", "OPERATOR", "WINDOW"})
_LOOKALIKES: Final = {"AMPERSAND": "and", "BAR": "or"}


def report_syntax_error(
    tokens: Sequence[Token], index: int, expected: Sequence[str], text: str, source: str, diagnostics: Diagnostics
) -> None:
    """Report the token at ``index``, in whose place any of the kinds ``expected`` could stand."""
    token = tokens[index]
    span = Span(source, token.start, token.end)
    unsupported = unsupported_feature(tokens, index, expected)
    if unsupported:
        verb = "are" if unsupported in ("scripts", "operators", "windows", "extractors") or "(" in unsupported else "is"
        diagnostics.error("not-supported", f"{unsupported} {verb} not part of the language here yet", span)
        return
    if token.kind in STATEMENT_STARTS and "SEMICOLON" in expected:
        expected = ["SEMICOLON"]
    words = expected_in_words(set(expected))
    diagnostics.error(
        "syntax",
        f"expected {_join(words)}, found {describe_found(token)}",
        span,
        label=f"expected {words[0]}" if len(words) == 1 else "",
        hint=_hint(tokens, index, set(expected), text),
    )


def unsupported_feature(tokens: Sequence[Token], index: int, expected: Collection[str]) -> str:
    """The feature of the whole language that begins with the token, or empty."""
    kind = tokens[index].kind
    before = tokens[index - 1].kind if index else ""
    following = tokens[index + 1].kind if index + 1 < len(tokens) else ""
    if kind == "DEFINE" and following in _DEFINABLE:
        return _UNSUPPORTED[following]
    if kind in _DEFINABLE:
        return _UNSUPPORTED[kind] if before in ("DEFINE", "CREATE") else ""
    if kind == "LEFT_BRACKET" and _follows_select_source(tokens, index):
        return "windows"
    if kind == "GROUP":
        return _UNSUPPORTED[kind] if following == "BY" else ""
    if kind == "SHIFT_LEFT":
        return _UNSUPPORTED[kind] if "INTEGER" in expected else ""
    if kind == "FLOW" or (kind in ("CREATE", "DEFINE") and "STREAM" in expected):
        return ""
    # A keyword in the place of a plain name is a name that needs backticks.
    return _UNSUPPORTED.get(kind, "") if set(expected) != {"IDENTIFIER"} else ""


def expected_in_words(expected: set[str]) -> list[str]:
    """The kinds as people call them, groups under one word, the likeliest first."""
    words: list[str] = []
    remaining = set(expected)
    if remaining >= _EXPRESSION:
        words.append("an expression")
        remaining -= _EXPRESSION
    elif remaining >= _PATH and "INTEGER" not in remaining:
        words.append("a path")
        remaining -= _PATH
    if remaining >= {"DEFINE", "USE"} or remaining >= {"SELECT", "USE"}:
        words.append("a statement")
        remaining -= STATEMENT_STARTS | {"CONFIG"}
    if remaining >= {"INTERPOLATION_START", "STRING_END"}:
        remaining -= {"STRING_TEXT", "INTERPOLATION_START"}
    others = remaining - _OPERATOR - _CONTINUATION
    if others:
        # Operators could follow any expression; naming them hides what is missing.
        remaining = others
    elif remaining >= _OPERATOR:
        words.append("an operator")
        remaining -= _OPERATOR
    order = ["IDENTIFIER", "SEMICOLON", "COMMA", "END", "PIPELINE", "FLOW"]
    for kind in sorted(remaining, key=lambda kind: (order.index(kind) if kind in order else len(order), kind)):
        word = DESCRIPTIONS[kind]
        if word not in words:
            words.append(word)
    return words


def _join(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _hint(tokens: Sequence[Token], index: int, expected: set[str], text: str) -> str:
    token = tokens[index]
    kind, before = token.kind, tokens[index - 1].kind if index else ""
    if kind in STATEMENT_STARTS and "SEMICOLON" in expected:
        return "end the statement before it with `;`"
    if kind in STATEMENT_STARTS and expected & {"PIPELINE", "FLOW"}:
        word = "pipeline" if "PIPELINE" in expected else "flow"
        return f"the body of a {word} begins with `{word}` once more: `define {word} x {word} … end;`"
    if "END" in expected and (kind == END_OF_FILE or kind in STATEMENT_STARTS):
        return _hint_of_open_block(tokens, index, text)
    if kind in ("PIPELINE", "CONNECTOR") and before == "SLASH" and expected == {"IDENTIFIER"}:
        return "two ends are joined by `to`: `connect /connector/a to /pipeline/b`"
    if kind == "IDENTIFIER" and (hint := _hint_for_misspelt_keyword(token, expected)):
        return hint
    if kind == "ASSIGN" and "EQUAL" in expected:
        return "values are compared with `==`"
    if kind in _LOOKALIKES and before == kind:
        return f"the operator is called `{_LOOKALIKES[kind]}`"
    if kind == "BAR":
        return "there is no `|`; the logical operator is called `or`"
    if "INTO" in expected and kind in ("SEMICOLON", "END", "HAVING", END_OF_FILE):
        return "a `select` says where its events go: `select … from in into out`"
    if "IDENTIFIER" in expected and token.value in KEYWORDS and not (kind == "END" and before == "SEMICOLON"):
        return f"`{token.value}` is a keyword; to use it as a name, write it in backticks" if len(expected) < 4 else ""
    if kind == "IDENTIFIER" and "STRING" in expected and "IDENTIFIER" not in expected:
        return f'keys of records are strings: `"{token.value}"`'
    if kind == END_OF_FILE:
        return _hint_of_open_block(tokens, index, text)
    return ""


def _hint_for_misspelt_keyword(token: Token, expected: set[str]) -> str:
    return did_you_mean(token.value, {kind.lower() for kind in expected if kind.lower() in KEYWORDS})


def _hint_of_open_block(tokens: Sequence[Token], index: int, text: str) -> str:
    blocks = open_blocks(tokens, 0, index)
    if not blocks:
        return ""
    block = blocks[-1]
    return f"the `{block.value}` in line {position_of(text, block.start).line} has no `end`"


def _follows_select_source(tokens: Sequence[Token], index: int) -> bool:
    """Whether a ``[`` stands behind ``from stream`` or ``from stream/port``."""
    kinds = [token.kind for token in tokens[max(0, index - 4) : index]]
    return kinds[-2:] == ["FROM", "IDENTIFIER"] or kinds == ["FROM", "IDENTIFIER", "SLASH", "IDENTIFIER"]
