"""How much of the work one process should hold: its share among the live processes of its role.

Leases keep the work safe; the share keeps it even.  A process that holds its share still takes what others leave
lying, only a moment later than those who hold less.  One that holds more, as others have come, hands over one piece
after the other, each between two batches.
"""

from __future__ import annotations

import asyncio

#: How much longer than others a process waits for a free lease when it holds its share already, seconds.
YIELD_S = 0.15

#: How long a process leaves alone what it has handed over, seconds.
COOL_DOWN_S = 2.0

Piece = tuple[str, str]


class Share:
    """The pieces of work, each a flow and a lease's name, that this process holds, and how many it should."""

    def __init__(self) -> None:
        self.members = 1
        self._totals: dict[str, int] = {}
        self._held: dict[Piece, asyncio.Event] = {}
        self._joined: list[Piece] = []

    @property
    def limit(self) -> int:
        """How many pieces are this process's share, rounded up."""
        return -(-sum(self._totals.values()) // max(1, self.members))

    @property
    def yield_s(self) -> float:
        """How many seconds others should come first when a piece is free."""
        return YIELD_S if self.members > 1 and len(self._held) >= self.limit else 0.0

    @property
    def flows(self) -> tuple[str, ...]:
        """The flows that this process follows."""
        return tuple(self._totals)

    @property
    def held(self) -> tuple[Piece, ...]:
        """What this process holds, in the order in which it was taken."""
        return tuple(self._held)

    @property
    def joined(self) -> tuple[Piece, ...]:
        """What this process works on together with others: it is nobody's, and counts for nobody."""
        return tuple(self._joined)

    def follow(self, flow: str) -> None:
        """This process follows a flow from now on, even while it can do nothing for it."""
        self._totals.setdefault(flow, 0)

    def set_total(self, flow: str, pieces: int) -> None:
        """There are so many pieces of work in a flow that this process follows."""
        self._totals[flow] = pieces

    def forget(self, flow: str) -> None:
        """The flow is no longer followed."""
        self._totals.pop(flow, None)

    def join(self, piece: Piece) -> None:
        """Begin to work on a piece together with others."""
        self._joined.append(piece)

    def part(self, piece: Piece) -> None:
        """End it."""
        self._joined.remove(piece)

    def take(self, piece: Piece) -> asyncio.Event:
        """Count a piece as held; the event is set when it should be handed over."""
        self._held[piece] = asyncio.Event()
        return self._held[piece]

    def drop(self, piece: Piece) -> None:
        """The piece is no longer held."""
        self._held.pop(piece, None)

    def hand_over_surplus(self) -> tuple[Piece, ...]:
        """Ask for what is above the share to be handed over, the latest first; returns what was asked for."""
        going = sum(event.is_set() for event in self._held.values())
        surplus = len(self._held) - going - self.limit
        chosen = [piece for piece, event in reversed(self._held.items()) if not event.is_set()][: max(0, surplus)]
        for piece in chosen:
            self._held[piece].set()
        return tuple(chosen)
