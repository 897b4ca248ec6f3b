"""The parser table: made from ``grammar.lark`` with lark, kept beside it as JSON so that starting costs no build.

Importing lark and building takes some 150 ms, reading the table 2 ms.  A table that does not belong to the
grammar beside it is not used: the parser is then built from the grammar, slower and right.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Any, Final

import msgspec
from msgspec import Struct

_GRAMMAR: Final = "grammar.lark"
_TABLE: Final = "grammar.table.json"


class Rule(Struct, frozen=True, array_like=True):
    """``size`` symbols become one ``result``, by the builder's method ``action`` (empty: one passes through)."""

    action: str
    result: str
    size: int


class Table(Struct, frozen=True, kw_only=True):
    """LALR actions; parsing starts in state 0 and is done in ``end``.

    ``states[state][symbol]`` is the next state, or ``-1 - rule`` to reduce by that rule.
    """

    digest: str
    end: int
    rules: list[Rule]
    states: list[dict[str, int]]


@cache
def load_table() -> Table:
    """The table of the grammar, read once per process."""
    folder = resources.files(__package__)
    grammar = folder.joinpath(_GRAMMAR).read_text(encoding="utf-8")
    try:
        table = msgspec.json.decode(folder.joinpath(_TABLE).read_bytes(), type=Table)
    except (OSError, msgspec.DecodeError):
        return build_table(grammar)
    return table if table.digest == _digest(grammar) else build_table(grammar)


def build_table(grammar: str) -> Table:
    """The LALR(1) table of a grammar; lark raises ``GrammarError`` where it is ambiguous."""
    from lark import Lark

    parser: Any = Lark(grammar, parser="lalr", lexer="basic").parser
    parsed = parser.parser._parse_table
    start = parsed.start_states["start"]
    # Lark numbers states as they come; numbering them by breadth makes the file the same every time.
    numbers, rules, states = {start: 0}, dict[Any, int](), list[dict[str, int]]()
    for state in (order := [start]):
        row: dict[str, int] = {}
        for symbol, (action, argument) in sorted(parsed.states[state].items(), key=lambda entry: str(entry[0])):
            if str(action) == "Shift":
                if argument not in numbers:
                    numbers[argument] = len(order)
                    order.append(argument)
                row[str(symbol)] = numbers[argument]
            else:
                row[str(symbol)] = -1 - rules.setdefault(argument, len(rules))
        states.append(row)
    described = [Rule(str(rule.alias or ""), str(rule.origin.name), len(rule.expansion)) for rule in rules]
    end = numbers[parsed.end_states["start"]]
    return Table(digest=_digest(grammar), end=end, rules=described, states=states)


def encode_table(table: Table) -> bytes:
    """What stands in the table's file."""
    return msgspec.json.encode(table) + b"\n"


def _digest(grammar: str) -> str:
    return hashlib.sha256(grammar.encode()).hexdigest()


def main() -> None:
    """Write the table anew, for whoever changed the grammar."""
    from pathlib import Path

    folder = Path(__file__).parent
    grammar = (folder / _GRAMMAR).read_text(encoding="utf-8")
    (folder / _TABLE).write_bytes(encode_table(build_table(grammar)))


if __name__ == "__main__":
    main()
