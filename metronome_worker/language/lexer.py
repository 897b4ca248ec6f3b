"""Text to tokens.  Strings nest expressions and expressions nest strings, so the lexer keeps a stack of templates.

What is wrong with a literal is reported here, once; the parser then gets an ``ILLEGAL`` token or a stand-in value.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from metronome_worker.language.diagnostics import Diagnostics
from metronome_worker.language.escapes import unescape
from metronome_worker.language.source import Span
from metronome_worker.language.tokens import END_OF_FILE, ILLEGAL, KEYWORDS, SYMBOLS, Token

_SYMBOL: Final = "|".join(re.escape(symbol) for symbol in sorted(SYMBOLS, key=len, reverse=True))
_CODE: Final = re.compile(
    r"""
      (?P<space>[ \t\r\n\f]+)
    | (?P<config>\#!config\b)
    | (?P<comment>\#[^\n]*)
    | (?P<extractor>[A-Za-z_][A-Za-z0-9_]*\|(?:\\.|[^|\\\n])*\|)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?!\w))
    | (?P<number>[0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)?\w*)
    | (?P<heredoc>\"\"\")
    | (?P<simple>"[^"\\\n#]*")
    | (?P<string>")
    | (?P<quoted>`[^`\n]+`)
    | (?P<symbol>"""
    + _SYMBOL
    + r""")
    | (?P<foreign>\w+)
    """,
    re.VERBOSE,
)
_INTEGER: Final = re.compile(r"0x[0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*")
_FLOAT: Final = re.compile(r"[0-9][0-9_]*(?:\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?|[eE][+-]?[0-9]+)")
_TEXT: Final = {
    False: re.compile(r'(?P<plain>(?:[^"\\\n#]|\#(?!\{))+)|(?P<escape>\\)|(?P<interpolation>\#\{)|(?P<end>")'),
    True: re.compile(r'(?P<plain>(?:[^"\\#]|\#(?!\{)|"(?!""))+)|(?P<escape>\\)|(?P<interpolation>\#\{)|(?P<end>""")'),
}
_ADVICE: Final = {
    "'": 'strings are written in double quotes: "…"',
    "`": "a name in backticks ends on its own line with another backtick",
}


class _Template(Struct):
    """A string that is open: where it began, and where its innermost code stands."""

    heredoc: bool
    start: int
    first_token: int
    code_start: int = -1
    braces: int = 0

    @property
    def is_in_code(self) -> bool:
        return self.code_start >= 0


class _State(Struct):
    text: str
    source: str
    diagnostics: Diagnostics
    position: int = 0
    tokens: list[Token] = []
    templates: list[_Template] = []

    def emit(self, kind: str, start: int, end: int, value: str) -> None:
        self.tokens.append(Token(kind, start, end, value))
        self.position = end

    def report(self, code: str, message: str, start: int, end: int, *, label: str = "", hint: str = "") -> None:
        self.diagnostics.error(code, message, Span(self.source, start, end), label=label, hint=hint)


def tokenize(text: str, source: str, diagnostics: Diagnostics) -> list[Token]:
    """The tokens of ``text``, comments left out, closed by one of kind ``END_OF_FILE``."""
    state = _State(text, source, diagnostics, position=1 if text.startswith("\ufeff") else 0)
    while state.position < len(text) or state.templates:
        if state.templates and not state.templates[-1].is_in_code:
            _lex_text(state, state.templates[-1])
        elif state.position < len(text):
            _lex_code(state)
        else:
            _give_up_template(state)
    last = state.tokens[-1].end if state.tokens else len(text)
    state.tokens.append(Token(END_OF_FILE, last, last, ""))
    return state.tokens


def _lex_code(state: _State) -> None:
    start = state.position
    match = _CODE.match(state.text, start)
    if match is None:
        _lex_illegal(state)
        return
    text, end = match.group(), match.end()
    match match.lastgroup:
        case "space" | "comment":
            state.position = end
        case "word":
            state.emit(_kind_of_word(state, text), start, end, text)
        case "symbol":
            _lex_symbol(state, text)
        case "quoted":
            state.emit("IDENTIFIER", start, end, text[1:-1])
        case "number":
            _lex_number(state, text)
        case "simple":
            state.emit("STRING", start, end, text[1:-1])
        case "string" | "heredoc":
            _open_template(state, heredoc=text == '"""')
        case "foreign":
            state.report(
                "illegal-character",
                f"`{text}` is no name",
                start,
                end,
                hint=f"names are made of a-z, A-Z, 0-9 and _; any other goes in backticks: `{text}`",
            )
            state.emit(ILLEGAL, start, end, text)
        case kind:
            state.emit(str(kind).upper(), start, end, text)


def _kind_of_word(state: _State, word: str) -> str:
    if word not in KEYWORDS:
        return "IDENTIFIER"
    last = state.tokens[-1] if state.tokens else None
    # Behind these nothing but a name can stand, so that keywords need no backticks there.
    if last is not None and (
        last.kind in ("DOT", "PATH_SEPARATOR") or (last.kind == "META" and last.end == state.position)
    ):
        return "IDENTIFIER"
    return word.upper()


def _lex_symbol(state: _State, text: str) -> None:
    start = state.position
    if state.templates:
        template = state.templates[-1]
        if text == "{":
            template.braces += 1
        elif text == "}" and template.braces == 0:
            template.code_start = -1
            state.emit("INTERPOLATION_END", start, start + 1, text)
            return
        elif text == "}":
            template.braces -= 1
    state.emit(SYMBOLS[text], start, start + len(text), text)


def _lex_number(state: _State, text: str) -> None:
    start, end = state.position, state.position + len(text)
    value = text.replace("_", "")
    if _INTEGER.fullmatch(text):
        # Python refuses to convert thousands of digits, and none that long fits.
        digits = value[2:] if value.startswith("0x") else value.lstrip("0")
        if len(digits) > 20 or int(value, 16 if value.startswith("0x") else 10) >= 2**64:
            _report_range(state, text, start, end)
            value = "0"
        state.emit("INTEGER", start, end, value)
    elif _FLOAT.fullmatch(text):
        if float(value) == float("inf"):
            state.report("number-out-of-range", "this number is too large for a float", start, end)
            value = "0.0"
        state.emit("FLOAT", start, end, value)
    else:
        state.report(
            "malformed-number", f"`{text}` is no number", start, end, hint="a name does not begin with a digit"
        )
        state.emit("INTEGER", start, end, "0")


def _report_range(state: _State, text: str, start: int, end: int) -> None:
    shown = text if len(text) <= 40 else text[:37] + "…"
    state.report(
        "number-out-of-range",
        f"the integer `{shown}` does not fit 64 bits",
        start,
        end,
        hint=f"integers go from {-(2**63)} to {2**64 - 1}; as a float it may lose digits: {shown}.0",
    )


def _lex_illegal(state: _State) -> None:
    start = state.position
    character = state.text[start]
    shown = f"`{character}`" if character.isprintable() else f"U+{ord(character):04X}"
    quoted = re.compile(r"'[^'\n]*'").match(state.text, start)
    end = quoted.end() if quoted else start + 1
    state.report("illegal-character", f"{shown} means nothing here", start, end, hint=_ADVICE.get(character, ""))
    state.emit(ILLEGAL, start, end, character)


def _open_template(state: _State, *, heredoc: bool) -> None:
    start = state.position
    state.templates.append(_Template(heredoc, start, len(state.tokens)))
    opening = '"""' if heredoc else '"'
    state.emit("STRING_START", start, start + len(opening), opening)
    if not heredoc:
        return
    line_end = re.compile(r"[ \t]*\r?\n").match(state.text, state.position)
    if line_end is None:
        state.report(
            "malformed-heredoc",
            'text behind the opening `"""`',
            start,
            start + 3,
            hint="begin the text on the next line",
        )
    else:
        state.position = line_end.end()


def _lex_text(state: _State, template: _Template) -> None:
    """One run of text, then what ends it: an interpolation, the end of the string, or the lack of one."""
    start, pieces, pattern = state.position, [], _TEXT[template.heredoc]
    while (match := pattern.match(state.text, state.position)) and match.lastgroup in ("plain", "escape"):
        if match.lastgroup == "plain":
            pieces.append(match.group())
            state.position = match.end()
        else:
            escape = unescape(state.text, state.position)
            if escape.problem:
                state.report("bad-escape", escape.problem, state.position, escape.end, hint=escape.hint)
            pieces.append(escape.value)
            state.position = escape.end
    if state.position > start:
        state.emit("STRING_TEXT", start, state.position, "".join(pieces))
    if match is None:
        _give_up_template(state)
    elif match.lastgroup == "interpolation":
        template.code_start, template.braces = state.position, 0
        state.emit("INTERPOLATION_START", state.position, match.end(), "#{")
    else:
        state.templates.pop()
        state.emit("STRING_END", state.position, match.end(), match.group())


def _give_up_template(state: _State) -> None:
    """Report the outermost string that is open, forget what was made of it, and go on behind it."""
    template = state.templates[0]
    start = template.start
    if template.is_in_code:
        code = template.code_start
        state.report(
            "unterminated-interpolation",
            "this `#{` has no `}`",
            code,
            code + 2,
            hint="close it with `}`, or write `\\#{` for the characters themselves",
        )
    elif template.heredoc:
        state.report("unterminated-heredoc", 'this `"""` has no end', start, start + 3, hint='end the text with `"""`')
    else:
        state.report(
            "unterminated-string",
            "this string has no end on its line",
            start,
            state.position,
            hint='end it with `"`, or use `"""` for text of several lines',
        )
    del state.tokens[template.first_token :]
    state.templates.clear()
    # What stood on the lines below was read as the string's, or as its code, and is most likely neither.
    line_end = state.text.find("\n", start)
    resume = line_end if line_end >= 0 else len(state.text)
    if template.heredoc:
        closing = state.text.find('"""', max(template.code_start, start + 3))
        resume = closing + 3 if closing >= 0 else len(state.text)
    state.emit(ILLEGAL, start, max(resume, start + 1), state.text[start:resume])
