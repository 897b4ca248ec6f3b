"""The LALR automaton: a stack that shifts tokens and reduces by rules.  It knows no syntax, and cannot recurse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from metronome_worker.language.builder import NESTING, Builder
from metronome_worker.language.source import Span
from metronome_worker.language.tokens import ERROR, Token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from metronome_worker.language.diagnostics import Diagnostics
    from metronome_worker.language.tables import Table

MAX_DEPTH: Final = 200
"""Levels of nested expressions.  What comes after walks the tree by recursion, so its depth must have a bound."""


class _Item(NamedTuple):
    """A symbol on the stack: its value, the characters it covers (none: ``start`` is -1), how deep it nests."""

    value: Any
    start: int
    end: int
    depth: int


class Automaton:
    """Feed it tokens that it ``accepts``; the finished module is ``result`` once the end was fed."""

    def __init__(self, table: Table, source: str, diagnostics: Diagnostics) -> None:
        self._table, self._source, self._diagnostics = table, source, diagnostics
        self._builder = Builder(diagnostics)
        self._actions = [getattr(self._builder, rule.action) if rule.action else None for rule in table.rules]
        self._states = [0]
        self._items: list[_Item] = []

    @property
    def result(self) -> Any:
        return self._items[-1].value if self._states[-1] == self._table.end else None

    def feed(self, token: Token) -> None:
        """Take one token; it must be one that ``accepts`` allows."""
        row = self._table.states[self._states[-1]]
        while (step := row[token.kind]) < 0:
            self._reduce(-1 - step)
            if self._states[-1] == self._table.end:
                return
            row = self._table.states[self._states[-1]]
        self._states.append(step)
        self._items.append(_Item(token, token.start, token.end, 0))

    def accepts(self, *kinds: str) -> bool:
        """Whether tokens of these kinds, one after the other, may come next."""
        state = self._table.states[self._states[-1]].get(kinds[0])
        if len(kinds) == 1 and state is not None and state >= 0:
            return True
        return _runs_through(self._table, self._states, kinds)

    def expected(self) -> list[str]:
        """The kinds of tokens that may come next."""
        row = self._table.states[self._states[-1]]
        return [kind for kind in row if (kind.isupper() or kind[0] == "$") and kind != ERROR and self.accepts(kind)]

    def copy_stack(self) -> tuple[list[int], list[_Item]]:
        return self._states.copy(), self._items.copy()

    def restore_stack(self, stack: tuple[list[int], list[_Item]]) -> None:
        self._states, self._items = stack[0].copy(), stack[1].copy()

    def fail_statement(self, position: int) -> int:
        """Give up the innermost statement that is under way; returns where it began (``position`` if nowhere)."""
        start = position
        while not self.accepts(ERROR):
            self._states.pop()
            item = self._items.pop()
            if item.start >= 0:
                start = item.start
        self.feed(Token(ERROR, start, start, ""))
        return start

    def _reduce(self, number: int) -> None:
        rule = self._table.rules[number]
        cut = len(self._items) - rule.size
        items = self._items[cut:]
        del self._items[cut:], self._states[len(self._states) - rule.size :]
        action = self._actions[number]
        self._items.append(items[0] if action is None else self._build(rule.action, action, items))
        self._states.append(self._table.states[self._states[-1]][rule.result])

    def _build(self, name: str, action: Any, items: Sequence[_Item]) -> _Item:
        covered = [item for item in items if item.start >= 0]
        start, end = (covered[0].start, covered[-1].end) if covered else (-1, -1)
        span = Span(self._source, max(start, 0), max(end, 0))
        depth = max((item.depth for item in items), default=0) + (name in NESTING)
        if depth > MAX_DEPTH:
            self._diagnostics.error(
                "too-deep",
                f"expressions nest more than {MAX_DEPTH} levels deep here",
                span,
                hint="compute a part of it in a `select` of its own, through a stream",
            )
            raise TooDeep(span)
        return _Item(action(span, *(item.value for item in items)), start, end, depth)


class TooDeep(Exception):
    """The expression at ``span`` nests too deeply to go on."""

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


def _runs_through(table: Table, states: Sequence[int], kinds: Sequence[str]) -> bool:
    """Run the automaton without values: ``above`` is what would lie on top of the lowest ``kept`` states."""
    kept, above = len(states), list[int]()
    for kind in kinds:
        while True:
            top = above[-1] if above else states[kept - 1]
            step = table.states[top].get(kind)
            if step is None:
                return False
            if step >= 0:
                above.append(step)
                break
            rule = table.rules[-1 - step]
            gone = min(rule.size, len(above))
            del above[len(above) - gone :]
            kept -= rule.size - gone
            following = table.states[above[-1] if above else states[kept - 1]][rule.result]
            above.append(following)
            if following == table.end:
                return True
    return True
