"""What the compiler must know of a library function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable


class Function(Struct, frozen=True, kw_only=True):
    """``name`` is the full one, as in ``std::string::len``; ``maximum`` is None where any number of arguments goes.

    ``call`` takes the arguments by position, changes none of them, gives the same answer each time, and raises
    ``EvalError`` (without a span) on what it cannot take.
    """

    name: str
    minimum: int
    maximum: int | None
    call: Callable[..., Any]
    doc: str

    def takes(self, count: int) -> bool:
        return self.minimum <= count and (self.maximum is None or count <= self.maximum)

    @property
    def arity(self) -> str:
        """For people: ``1 argument``, ``1 to 3 arguments``, ``at least 1 argument``."""
        if self.maximum is None:
            return f"at least {self.minimum} argument{'' if self.minimum == 1 else 's'}"
        if self.minimum == self.maximum:
            return f"{self.minimum} argument{'' if self.minimum == 1 else 's'}"
        return f"{self.minimum} to {self.maximum} arguments"
