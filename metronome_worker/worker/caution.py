"""Finding the entry that kills whoever works on it.

A worker that dies cannot say why.  So the owner of a stage notes in Redis which batch it is about to begin, the first
of its term, and the commit of the batch takes the note back.  A note that is found when a stage is taken over is a
death, unless whoever failed could still take it back.  After two deaths entries are worked on one by one, each with a
note of its own; one that has killed again and again then is put aside, unread, as a dead letter.

A process has many stages, and all that are at work when it dies look alike.  So of all entries that are worked on one
by one a process has one in hand at a time: what is noted then is what has killed it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from metronome_worker.broker.commits import Command, pardon_attempt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis.asyncio import Redis

    from metronome_worker.worker.entries import RawReply

#: How many times in a row whoever worked on an entry must have died until it is put aside.
MOST_DEATHS = 5

#: From how many deaths on entries are worked on one by one.
_CAREFUL_DEATHS = 2

#: How long a worker that failed tries to take its note back, seconds.
_PARDON_S = 1.0


class Verdict(Enum):
    """What to do with a part of a batch: work on it, after noting it in Redis or not; or put it aside."""

    GO = "go"
    NOTE = "note"
    KILLS = "kills"


class Caution:
    """How carefully one owner of a stage must work, and what it must note; ``key`` is the state of the stage."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._attempt = ""
        self._is_noted = False
        self._is_first = True
        self._one_by_one = 0
        #: How many in a row have died over the entry that is noted.
        self.deaths = 0

    def begin(self, attempt: str, deaths: int, batch: int) -> None:
        """Take over with the note that was found; ``batch``: how many entries whoever died may have had in hand."""
        self._attempt, self.deaths = attempt, deaths if attempt else 0
        self._one_by_one = batch if self.deaths >= _CAREFUL_DEATHS else 0

    @property
    def is_careful(self) -> bool:
        """Whether entries are worked on one by one, and one at a time in this process."""
        return self._one_by_one > 0

    def parts_of(self, reply: RawReply) -> Iterator[RawReply]:
        """What is to be worked on and committed at a time: all of it, or one entry after the other."""
        if not self.is_careful:
            yield reply
            return
        for key, entries in reply:
            for entry in entries:
                yield [[key, [entry]]]

    def judge(self, attempt: str) -> Verdict:
        """What to do with the part that begins with the entry ``attempt`` (``<input> <ID>``)."""
        if self.is_careful:
            is_killer = attempt == self._attempt and self.deaths >= MOST_DEATHS
            return Verdict.KILLS if is_killer else Verdict.NOTE
        return Verdict.NOTE if self._is_first else Verdict.GO

    def note(self, attempt: str) -> list[str | bytes]:
        """The fields of the state that must be committed before the part is begun."""
        if self.is_careful and attempt != self._attempt:
            self.deaths = _CAREFUL_DEATHS
        self._attempt, self._is_noted = attempt, True
        self.deaths += 1
        return ["attempt", attempt, "deaths", str(self.deaths)]

    def clearing(self) -> Sequence[Command]:
        """What the commit of a part must hold so that its note is gone."""
        return [Command("HDEL", self._key, ("attempt", "deaths"))] if self._attempt else []

    def settled(self) -> None:
        """The part is done and committed."""
        self._attempt, self._is_noted, self._is_first = "", False, False
        self._one_by_one = max(0, self._one_by_one - 1)
        self.deaths = _CAREFUL_DEATHS if self.is_careful else 0

    async def pardon(self, client: Redis) -> None:
        """Whoever noted something and did not finish it lives: take the death back, as far as Redis can be reached."""
        if self._is_noted:
            with suppress(TimeoutError, RedisError):
                async with asyncio.timeout(_PARDON_S):
                    await pardon_attempt(client, self._key, self._attempt)
