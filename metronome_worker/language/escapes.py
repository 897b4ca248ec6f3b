"""The escapes of strings: one backslash sequence to its character.  Pure."""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

_SIMPLE: Final = {
    '"': '"', "\\": "\\", "/": "/", "#": "#", "n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f",
}  # fmt: skip
_BRACED: Final = re.compile(r"\\u\{([0-9a-fA-F]{1,6})\}")
_PLAIN: Final = re.compile(r"\\u([0-9a-fA-F]{4})")
_HINT: Final = r"known are \" \\ \/ \n \t \r \b \f \# \u{1F600} and \u00E9"


class Escape(Struct, frozen=True):
    """``value`` is what it stands for, ``end`` where it ends, ``problem`` what is wrong with it, if anything."""

    value: str
    end: int
    problem: str = ""
    hint: str = ""


def unescape(text: str, start: int) -> Escape:
    """The escape whose backslash stands at ``start``."""
    following = text[start + 1 : start + 2]
    if following in _SIMPLE:
        return Escape(_SIMPLE[following], start + 2)
    if following == "u":
        return _unescape_unicode(text, start)
    if following in ("", "\n", "\r"):
        return Escape("", start + 1, "a backslash escapes no line end", _HINT)
    return Escape("", start + 2, f"`\\{following}` is no escape", _HINT)


def _unescape_unicode(text: str, start: int) -> Escape:
    match = _BRACED.match(text, start) or _PLAIN.match(text, start)
    if match is None:
        return Escape("", start + 2, r"`\u` wants a character's number in hexadecimal", _HINT)
    code = int(match.group(1), 16)
    if 0xD800 <= code < 0xDC00 and (low := _PLAIN.match(text, match.end())):
        # JSON writes a character above U+FFFF as two escapes.
        second = int(low.group(1), 16)
        if 0xDC00 <= second < 0xE000:
            return Escape(chr(0x10000 + ((code - 0xD800) << 10) + (second - 0xDC00)), low.end())
    if 0xD800 <= code < 0xE000 or code > 0x10FFFF:
        problem, hint = f"U+{code:04X} is no character", "characters end at U+10FFFF, without U+D800 to U+DFFF"
        return Escape("", match.end(), problem, hint)
    return Escape(chr(code), match.end())
