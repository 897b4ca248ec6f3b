"""The kinds of tokens, the words behind them, and how each is called in messages.  Pure data."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

END_OF_FILE: Final = "$END"
"""The kind of the last token; the name is the parser table's."""

ERROR: Final = "ERROR"
"""Stands for a statement that could not be parsed; fed by recovery, never by the lexer."""

ILLEGAL: Final = "ILLEGAL"
"""Text that the lexer has reported already; the parser says nothing more about it."""


class Token(Struct, frozen=True, gc=False):
    """``value`` is the text that counts: without backticks for names, unescaped for strings, else as written."""

    kind: str
    start: int
    end: int
    value: str


KEYWORDS: Final = frozenset(
    {
        "absent", "and", "args", "as", "by", "case", "connect", "connector", "const", "copy", "create", "default",
        "define", "deploy", "drop", "each", "emit", "end", "erase", "event", "false", "flow", "fn", "for", "from",
        "group", "having", "insert", "into", "intrinsic", "let", "match", "merge", "move", "not", "null", "of",
        "operator", "or", "patch", "pipeline", "present", "recur", "script", "select", "set", "sliding", "state",
        "stream", "to", "true", "tumbling", "update", "upsert", "use", "when", "where", "window", "with", "xor",
    }
)  # fmt: skip
"""Reserved words; the kind of such a token is the word in upper case."""

SYMBOLS: Final = {
    "::": "PATH_SEPARATOR",
    "==": "EQUAL",
    "=>": "ARROW",
    "~=": "TILDE_EQUAL",
    "!=": "NOT_EQUAL",
    ">>>": "SHIFT_RIGHT_UNSIGNED",
    ">>": "SHIFT_RIGHT",
    "<<": "SHIFT_LEFT",
    "<=": "LESS_EQUAL",
    ">=": "GREATER_EQUAL",
    "=": "ASSIGN",
    "<": "LESS",
    ">": "GREATER",
    "!": "BANG",
    "+": "PLUS",
    "-": "MINUS",
    "*": "STAR",
    "/": "SLASH",
    "%": "PERCENT",
    "^": "CARET",
    "&": "AMPERSAND",
    "|": "BAR",
    "~": "TILDE",
    "(": "LEFT_PARENTHESIS",
    ")": "RIGHT_PARENTHESIS",
    "[": "LEFT_BRACKET",
    "]": "RIGHT_BRACKET",
    "{": "LEFT_BRACE",
    "}": "RIGHT_BRACE",
    ",": "COMMA",
    ";": "SEMICOLON",
    ":": "COLON",
    ".": "DOT",
    "$": "META",
}

STATEMENT_STARTS: Final = frozenset({"DEFINE", "CREATE", "CONNECT", "DEPLOY", "USE", "SELECT"})
"""Words that open a statement and stand nowhere else."""

DESCRIPTIONS: Final = {
    "IDENTIFIER": "a name",
    "INTEGER": "a number",
    "FLOAT": "a number",
    "STRING": "a string",
    "STRING_START": "a string",
    "STRING_TEXT": "text",
    "STRING_END": "the end of the string",
    "INTERPOLATION_START": "`#{`",
    "INTERPOLATION_END": "`}`",
    "CONFIG": "`#!config`",
    "EXTRACTOR": "an extractor",
    END_OF_FILE: "end of file",
    **{kind: f"`{text}`" for text, kind in SYMBOLS.items()},
    **{word.upper(): f"`{word}`" for word in KEYWORDS},
}
"""How a kind of token is called in "expected …"."""


def describe_found(token: Token) -> str:
    """How this very token is called in "found …"."""
    match token.kind:
        case "IDENTIFIER" | "INTEGER" | "FLOAT":
            return f"`{token.value}`"
        case kind:
            return DESCRIPTIONS.get(kind, f"`{token.value}`")
