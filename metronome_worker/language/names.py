"""Which names are allowed, and that each is given once.  Pure."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.language.diagnostics import Diagnostics
    from metronome_worker.language.syntax import Name

_REFUSED: Final = frozenset("{}:/\\")
_MAX_LENGTH: Final = 100


def has_valid_characters(name: str) -> bool:
    """Whether a name can be part of keys in Redis and of file names, where people can read and type it."""
    return (
        0 < len(name) <= _MAX_LENGTH
        and name not in (".", "..")
        and not any(c in _REFUSED or c.isspace() or unicodedata.category(c)[0] == "C" for c in name)
    )


def check_name(name: Name, what: str, diagnostics: Diagnostics) -> None:
    """Report a name that cannot become part of a key; only backticks make such names."""
    if not has_valid_characters(name.text):
        diagnostics.error(
            "invalid-name",
            f"this cannot be the name of a {what}",
            name.span,
            hint="names become parts of keys in Redis: no `{`, `}`, `:`, `/`, `\\`, blanks or control characters, "
            f"at most {_MAX_LENGTH} characters",
        )


def check_unique(names: Iterable[Name], what: str, diagnostics: Diagnostics) -> None:
    """Report each name that was given before."""
    seen: set[str] = set()
    for name in names:
        if name.text in seen:
            diagnostics.error("duplicate-name", f"a second {what} called `{name.text}`", name.span)
        seen.add(name.text)
