"""The functions behind the library's modules, by full name: pure, without clock or randomness."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from metronome_worker.library.functions import arrays, json, numbers, records, strings, types
from metronome_worker.runtime.function import Function

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FUNCTIONS", "Function", "signatures"]

#: Every function by its full name, as in ``std::string::len``.
FUNCTIONS: Final[Mapping[str, Function]] = MappingProxyType(
    {
        function.name: function
        for module in (strings, types, numbers, json, arrays, records)
        for function in module.FUNCTIONS
    }
)


def signatures() -> Mapping[str, tuple[int, int | None]]:
    """How few and how many arguments each function takes; None where there is no limit."""
    return {name: (function.minimum, function.maximum) for name, function in FUNCTIONS.items()}
