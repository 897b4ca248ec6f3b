"""What goes into a compiled stage and what comes out of it.  Pure data, made for speed: tuples, lists and dicts."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

#: One event on its way in: its ID in the stream, its value, its metadata (``$``; an empty record when there is none).
Entry = tuple[str, Any, dict[str, Any]]

#: One event on its way out: value, metadata, and the ID of the entry that it came from.
Output = tuple[Any, dict[str, Any], str]


class DeadLetter(Struct, frozen=True, kw_only=True):
    """An event that failed where nothing was connected to take the error.

    ``event`` and ``meta`` may be JSON already (``msgspec.Raw``).  ``is_event``: False for an entry that is no event;
    ``event`` then shows its fields.  ``deaths``: how many workers in a row it has killed, where that is why.
    """

    stream: str
    entry_id: str
    node: str
    error: str
    event: Any
    meta: Any = None
    is_event: bool = True
    deaths: int = 0


class Effects(Struct, kw_only=True):
    """All that a batch does.  ``outputs[sink node][port]`` in order; whole events only."""

    outputs: dict[str, dict[str, list[Output]]] = field(default_factory=dict)
    dead: list[DeadLetter] = field(default_factory=list)
