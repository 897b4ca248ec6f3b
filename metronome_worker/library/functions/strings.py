"""The functions of ``std::string``.  Characters are code points; indexes count from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions.declare import declare, need
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import describe, text

if TYPE_CHECKING:
    from metronome_worker.plan.model import Value

#: What has Unicode's property White_Space.  (Python's ``strip`` takes the separators U+001C to U+001F as well.)
_WHITE_SPACE: Final = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


def format_(format_: Value, *arguments: Value) -> str:
    """Puts the arguments for ``{}`` in ``format``, in order: strings raw, everything else as JSON.

    ``{{`` and ``}}``, or ``\\\\{`` and ``\\\\}``, stand for single braces.  There must be as many ``{}`` as arguments.
    """
    template: str = need("string::format", "string", format_)
    out: list[str] = []
    used = position = 0
    while position < len(template):
        pair = template[position : position + 2]
        if pair == "{}":
            if used == len(arguments):
                raise EvalError(f"`string::format` has more `{{}}` than its {len(arguments)} arguments")
            out.append(text(arguments[used]))
            used += 1
        else:
            out.append(_plain(pair, position))
        position += 2 if pair[0] in "{}\\" else 1
    if used < len(arguments):
        raise EvalError(f"`string::format` has {used} `{{}}` for {len(arguments)} arguments")
    return "".join(out)


def _plain(pair: str, position: int) -> str:
    """What the one or two characters at ``position`` of a format stand for, when they are no ``{}``."""
    if pair in ("{{", "}}"):
        return pair[0]
    if pair in ("\\{", "\\}"):
        return pair[1]
    if pair[0] in "{}" or pair == "\\":
        doubled = f"`{pair[0] * 2}` for the character itself"
        raise EvalError(f"`string::format` cannot use the `{pair[0]}` at {position}; write {doubled}")
    return pair if pair[0] == "\\" else pair[0]


def is_empty(string: Value) -> bool:
    """Whether the string has no characters."""
    return not need("string::is_empty", "string", string)


def len_(string: Value) -> int:
    """The number of characters."""
    return len(need("string::len", "string", string))


def bytes_(string: Value) -> int:
    """The number of bytes in UTF-8."""
    return len(need("string::bytes", "string", string).encode(errors="surrogatepass"))


def replace(string: Value, from_: Value, to: Value) -> str:
    """The string with each ``from`` replaced by ``to``; an empty ``from`` stands around every character."""
    characters: str = need("string::replace", "string", string)
    return characters.replace(need("string::replace", "string", from_), need("string::replace", "string", to))


def trim(string: Value) -> str:
    """Without white space at both ends."""
    return str(need("string::trim", "string", string).strip(_WHITE_SPACE))


def trim_start(string: Value) -> str:
    """Without white space at the start."""
    return str(need("string::trim_start", "string", string).lstrip(_WHITE_SPACE))


def trim_end(string: Value) -> str:
    """Without white space at the end."""
    return str(need("string::trim_end", "string", string).rstrip(_WHITE_SPACE))


def lowercase(string: Value) -> str:
    """In lower case, as Unicode has it."""
    return str(need("string::lowercase", "string", string).lower())


def uppercase(string: Value) -> str:
    """In upper case, as Unicode has it: ``ß`` becomes ``SS``."""
    return str(need("string::uppercase", "string", string).upper())


def capitalize(string: Value) -> str:
    """The first character in upper case, all others as they are."""
    characters: str = need("string::capitalize", "string", string)
    return characters[:1].upper() + characters[1:]


def substr(string: Value, start: Value, end: Value) -> str:
    """The characters from ``start`` up to, not including, ``end``.

    As in the reference implementation: an ``end`` beyond the string is its end, a ``start`` that is not in the
    string is its beginning, and where ``start`` is behind ``end`` the answer is the whole string.
    """
    characters: str = need("string::substr", "string", string)
    for bound in (start, end):
        if type(bound) is not int or bound < 0:
            raise EvalError(f"`string::substr` needs integers from 0, not {describe(bound)}")
    first = start if start < len(characters) else 0
    last = min(end, len(characters))
    return characters[first:last] if first <= last else characters


def split(string: Value, separator: Value) -> list[str]:
    """The parts between the separators; an empty separator stands around every character."""
    characters: str = need("string::split", "string", string)
    between: str = need("string::split", "string", separator)
    return characters.split(between) if between else ["", *characters, ""]


def contains(string: Value, part: Value) -> bool:
    """Whether ``part`` is in ``string``; the empty one is in every string."""
    return need("string::contains", "string", part) in need("string::contains", "string", string)


def reverse(string: Value) -> str:
    """The characters in reverse order."""
    return str(need("string::reverse", "string", string)[::-1])


FUNCTIONS: Final = declare(
    "std::string",
    format=format_,
    is_empty=is_empty,
    len=len_,
    bytes=bytes_,
    replace=replace,
    trim=trim,
    trim_start=trim_start,
    trim_end=trim_end,
    lowercase=lowercase,
    uppercase=uppercase,
    capitalize=capitalize,
    substr=substr,
    split=split,
    contains=contains,
    reverse=reverse,
)
