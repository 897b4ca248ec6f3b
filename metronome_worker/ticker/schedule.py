"""When ticks are due, and what to do about those that were missed.  Pure: the time is handed in.

A schedule is a sequence of *slots*: slot k of a metronome is due at ``anchor_ms + k * interval_ms``.  Nothing is ever
added to "now", so there is no drift.  Each slot is published as a tick or skipped; ``next_ms`` is the first slot about
which that is not decided.  Ticks are numbered by ``n`` from 0 without a gap, whatever is skipped.
"""

from __future__ import annotations

from msgspec import Struct

from metronome_worker.clock import NS_PER_S

#: The most ticks published by one call of the script, so that a long gap does not hold up the server.
MAX_TICKS_PER_CALL = 500

#: With ``"missed": "skip"``, a tick that is later than this, or than its interval, counts as missed.  It is above the
#: default lease and poll, so that a failover alone does not skip a tick that comes once an hour.
LATE_MS = 5_000

#: How far off a wake must be for the server's time to be asked again on the way to it, and how long before it: longer
#: than a lease, which lapses where the server's clock is set forward by more.
_FAR_NS = 10 * NS_PER_S
_BEFORE_NS = 2 * NS_PER_S


class Schedule(Struct, frozen=True, kw_only=True):
    """A metronome's schedule as far as it has come.  ``gap``: how many slots were skipped since the last tick."""

    connector: str
    interval_ms: int
    missed: str
    catch_up_ms: int
    next_ms: int
    published: int
    gap: int = 0


class Tick(Struct, frozen=True, kw_only=True):
    """One event to publish: due at ``due_ms`` (server's clock, Unix epoch), number ``n``, after ``skipped`` slots."""

    due_ms: int
    n: int
    skipped: int


class Publication(Struct, frozen=True, kw_only=True):
    """What to do now: publish ``ticks``, give up ``skipped`` slots, and go on at ``after``."""

    ticks: tuple[Tick, ...]
    skipped: int
    through_ms: int
    after: Schedule


def decide(schedule: Schedule, now_ms: int, limit: int = MAX_TICKS_PER_CALL) -> Publication | None:
    """What to do about the slots that are due at ``now_ms``; None when none is.

    >>> s = Schedule(connector="c", interval_ms=10, missed="latest", catch_up_ms=60_000, next_ms=100, published=7)
    >>> decide(s, 99)
    >>> [(tick.due_ms, tick.n, tick.skipped) for tick in decide(s, 125).ticks]
    [(120, 7, 2)]
    """
    if now_ms < schedule.next_ms:
        return None
    due = (now_ms - schedule.next_ms) // schedule.interval_ms + 1
    given_up = _given_up(schedule, now_ms, due)
    take = min(due - given_up, limit)
    first_ms = schedule.next_ms + given_up * schedule.interval_ms
    ticks = tuple(
        Tick(
            due_ms=first_ms + k * schedule.interval_ms,
            n=schedule.published + k,
            skipped=schedule.gap + given_up if k == 0 else 0,
        )
        for k in range(take)
    )
    next_ms = first_ms + take * schedule.interval_ms
    after = Schedule(
        connector=schedule.connector,
        interval_ms=schedule.interval_ms,
        missed=schedule.missed,
        catch_up_ms=schedule.catch_up_ms,
        next_ms=next_ms,
        published=schedule.published + take,
        gap=0 if take else schedule.gap + given_up,
    )
    return Publication(ticks=ticks, skipped=given_up, through_ms=next_ms - schedule.interval_ms, after=after)


def _given_up(schedule: Schedule, now_ms: int, due: int) -> int:
    """How many of the ``due`` slots, the oldest first, are not published."""
    match schedule.missed:
        case "latest":
            return due - 1
        case "skip":
            newest_ms = schedule.next_ms + (due - 1) * schedule.interval_ms
            return due if now_ms - newest_ms > LATE_MS else due - 1
        case _:
            too_old = now_ms - schedule.catch_up_ms - schedule.next_ms
            return 0 if too_old <= 0 else min(due, -(-too_old // schedule.interval_ms))


def ask_again_ns(now_ns: int, wake_ns: int) -> int | None:
    """When to ask for the server's time before ``wake_ns``; None when that is so near that clocks hardly run apart.

    >>> ask_again_ns(0, 3_600 * NS_PER_S) // NS_PER_S
    3598
    >>> ask_again_ns(0, 10 * NS_PER_S)
    """
    return wake_ns - _BEFORE_NS if wake_ns - now_ns > _FAR_NS else None
