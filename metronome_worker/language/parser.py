"""Text to syntax tree, with all syntax errors of the text: tokens are fed to the automaton, and misfits repaired.

After an error the parser goes on as if the likeliest missing word were there; where none fits, it gives up the
statement and goes on behind it.  At one token at most one error is reported.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from metronome_worker.language.automaton import Automaton, TooDeep
from metronome_worker.language.diagnostics import Diagnostic, Diagnostics
from metronome_worker.language.lexer import tokenize
from metronome_worker.language.recovery import statement_end
from metronome_worker.language.syntax import ModuleText
from metronome_worker.language.syntax_errors import report_syntax_error, unsupported_feature
from metronome_worker.language.tables import load_table
from metronome_worker.language.tokens import END_OF_FILE, ILLEGAL, STATEMENT_STARTS, Token

_MAX_ERRORS: Final = 100
"""After so many syntax errors the text is most likely no program, and nobody reads on."""

_MISSING: Final = ("SEMICOLON", "PIPELINE", "FLOW")
"""Words that are put in where the token fits behind them."""


def parse_module(text: str, source: str) -> tuple[ModuleText | None, list[Diagnostic]]:
    """The syntax tree of ``text``, called ``source`` in spans, or None and all errors."""
    diagnostics = Diagnostics()
    module = _Parser(text, source, diagnostics).parse()
    return (None if diagnostics.has_errors else module), diagnostics.in_order()


class _Parser:
    def __init__(self, text: str, source: str, diagnostics: Diagnostics) -> None:
        self._text, self._source, self._diagnostics = text, source, diagnostics
        self._tokens = tokenize(text, source, diagnostics)
        self._starts = [token.start for token in self._tokens]
        self._automaton = Automaton(load_table(), source, diagnostics)
        self._reported = -1
        self._errors = 0
        self._skipped_from = -1

    def parse(self) -> ModuleText | None:
        index, before_create = 0, self._automaton.copy_stack()
        while index < len(self._tokens) and self._errors < _MAX_ERRORS:
            token = self._tokens[index]
            if token.kind == "CREATE":
                before_create = self._automaton.copy_stack()
            if self._automaton.accepts(token.kind):
                index = self._feed(index)
                continue
            if self._is_creation_in_pipeline(index):
                self._automaton.restore_stack(before_create)
                index -= 1
            index = self._recover(index)
        module = self._automaton.result
        return module if isinstance(module, ModuleText) else None

    def _feed(self, index: int) -> int:
        """Feed the token; returns the index of the next."""
        try:
            self._automaton.feed(self._tokens[index])
        except TooDeep as error:
            self._reported = index
            return self._give_up_statement(index, error.span.start)
        return index + 1

    def _is_creation_in_pipeline(self, index: int) -> bool:
        """Whether ``create connector`` or ``create pipeline`` met a pipeline that lacks its ``end``."""
        return (
            index > 0
            and self._tokens[index].kind in ("CONNECTOR", "PIPELINE")
            and self._tokens[index - 1].kind == "CREATE"
            and self._automaton.accepts("STREAM")
        )

    def _recover(self, index: int) -> int:
        """Report the token, repair what is before it or give up its statement; returns where to go on."""
        token = self._tokens[index]
        expected = self._automaton.expected()
        if index > self._reported and token.kind != ILLEGAL:
            self._errors += 1
            report_syntax_error(self._tokens, index, expected, self._text, self._source, self._diagnostics)
        self._reported = max(index, self._reported)
        if not unsupported_feature(self._tokens, index, expected) and self._repair(token):
            return index
        return self._give_up_statement(index, token.start)

    def _repair(self, token: Token) -> bool:
        """Put in the word that is missing before ``token``, where that is plain; an ``end`` brings it nearer."""
        if token.kind not in STATEMENT_STARTS and token.kind != END_OF_FILE:
            return False
        for missing in _MISSING:
            if self._automaton.accepts(missing, token.kind):
                return self._insert(missing, token)
        return self._automaton.accepts("END") and self._insert("END", token)

    def _insert(self, kind: str, token: Token) -> bool:
        self._automaton.feed(Token(kind, token.start, token.start, kind.lower()))
        return True

    def _give_up_statement(self, index: int, position: int) -> int:
        if self._skipped_from == index:
            # The second time here: this token is in the way wherever it stands.
            return index + 1
        self._skipped_from = index
        start = self._automaton.fail_statement(position)
        resume = statement_end(self._tokens, bisect_left(self._starts, start), index)
        following = self._tokens[resume].kind
        if following in STATEMENT_STARTS or (following == END_OF_FILE and self._tokens[index].kind == ILLEGAL):
            # The `;` or `end` that is missing there belongs to what was given up.
            self._reported = max(self._reported, resume)
        return resume
