"""Publishing the ticks of a flow while leading it: decide, wait, run the script, believe its answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct
from redis.exceptions import ResponseError

from metronome_worker.broker.damage import refusal_of
from metronome_worker.broker.server_time import ask_time
from metronome_worker.broker.ticks import (
    Outcome,
    TickBatch,
    damaged_schedule,
    load_schedule,
    publish_ticks,
    tick_entry,
)
from metronome_worker.clock import NS_PER_MS, NS_PER_S
from metronome_worker.connectors.schedules import ticked_sources
from metronome_worker.errors import FencedError, OperatorError, SupersededError
from metronome_worker.refusal import Complaints
from metronome_worker.session import require_current
from metronome_worker.ticker.schedule import Publication, Schedule, ask_again_ns, decide

if TYPE_CHECKING:
    from metronome_worker.broker.leases import Lease
    from metronome_worker.broker.server_time import ServerTime
    from metronome_worker.broker.ticks import Reply
    from metronome_worker.plan.model import ConnectorInstance
    from metronome_worker.session import Session

#: How long a source waits before it looks again whether its stream has room, or its flow is no longer paused.
_HOLD_NS = 100 * NS_PER_MS

#: How long a source is left alone about which an operator must act.
_REFUSED_NS = NS_PER_S

#: Later than every tick.
_NEVER_MS = 1 << 63

_KIND = "metronome"


class _Hold(Struct, frozen=True):
    """A source that is left alone until ``until_ns``, as what was sent at ``sent_ns`` was not taken (our clock)."""

    sent_ns: int
    until_ns: int


class Publisher:
    """Publishes for one term of leading.  ``run`` ends when the flow has stopped publishing."""

    def __init__(self, session: Session, lease: Lease, time: ServerTime) -> None:
        self._session, self._lease = session, lease
        self._client, self._clock, self._keys = session.host.client, session.host.clock, session.keys
        self._log = session.host.log.bind(flow=session.keys.flow_name, role="ticker")
        self._time = time
        self._held: dict[str, _Hold] = {}
        #: Connectors whose schedule must be read, and the moment on our clock from which on.
        self._unread = dict.fromkeys((c.alias for c in ticked_sources(session.plan)), 0)
        self._complaints = {name: Complaints(self._clock, self._log.bind(connector=name)) for name in self._unread}
        #: Up to when every slot is published or skipped (server's clock).
        self._decided_ms = 0
        #: From when on (our clock) a source that is held does not count for that.
        self._asked_ns: int | None = None
        self._progress = asyncio.Condition()

    async def decided(self, until_ms: int) -> None:
        """Wait until every tick that is due before ``until_ms`` is published or skipped, or no more will be.

        A leader that has just taken over is behind: what was due before the flow stops comes first.  A source that is
        held (paused, its stream full, refused) is tried once more, as it may be free again, and is then left out.
        """
        self._asked_ns = self._clock.now_ns()
        async with self._progress:
            await self._progress.wait_for(lambda: self._decided_ms >= until_ms)

    async def _note_progress(self, decided_ms: int) -> None:
        self._decided_ms = decided_ms
        async with self._progress:
            self._progress.notify_all()

    async def run(self) -> None:
        """Publish each tick when it is due.  Raises ``FencedError`` when another leads.

        Cancelling may leave a tick published of which this process has not heard: the schedule in Redis knows.
        """
        schedules: dict[str, Schedule] = {}
        while schedules or self._unread:
            await self._read(schedules)
            undecided = [schedule.next_ms for name, schedule in schedules.items() if not self._is_left_out(name)]
            await self._note_progress(min(undecided, default=_NEVER_MS))
            now_ns = self._clock.now_ns()
            now_ms = self._time.now_ms(now_ns)
            ready = [
                (name, what)
                for name, schedule in schedules.items()
                if self._held_until_ns(name) <= now_ns and (what := decide(schedule, now_ms)) is not None
            ]
            if not ready:
                wakes = [self._wake_ns(schedule) for schedule in schedules.values()]
                await self._sleep_until(min([*wakes, *self._unread.values()]))
                continue
            replies = await asyncio.gather(*(self._attempt(schedules[name], what) for name, what in ready))
            for (name, what), reply in zip(ready, replies, strict=True):
                after = self._believe(schedules[name], what, reply, now_ns)
                if after is None:
                    del schedules[name]
                else:
                    schedules[name] = after
        await self._note_progress(_NEVER_MS)

    async def _sleep_until(self, wake_ns: int) -> None:
        """Wait until ``wake_ns``, or, where that is far off, until shortly before it, knowing the server's time anew.

        Meanwhile the clocks have run apart, or the server's was set.
        """
        ask_ns = ask_again_ns(self._clock.now_ns(), wake_ns)
        if ask_ns is None:
            await self._clock.sleep_until(wake_ns)
            return
        await self._clock.sleep((ask_ns - self._clock.now_ns()) / NS_PER_S)
        await ask_time(self._client, self._clock, self._time)

    def _wake_ns(self, schedule: Schedule) -> int:
        """When there may be something to do for a schedule, on our clock."""
        return max(self._time.local_ns(schedule.next_ms), self._held_until_ns(schedule.connector))

    def _held_until_ns(self, name: str) -> int:
        hold = self._held.get(name)
        return 0 if hold is None else hold.until_ns

    def _is_left_out(self, name: str) -> bool:
        """Whether a source was tried after it was asked what is decided, and still is held."""
        hold = self._held.get(name)
        return hold is not None and self._asked_ns is not None and hold.sent_ns >= self._asked_ns

    async def _read(self, schedules: dict[str, Schedule]) -> None:
        """Read the schedules that must be.  One that is damaged is looked at again and again; the others go on."""
        for name, from_ns in list(self._unread.items()):
            if from_ns > self._clock.now_ns():
                continue
            try:
                schedules[name] = await self._load(self._session.plan.connectors[name])
                del self._unread[name]
            except (OperatorError, ResponseError) as failure:
                await self._refuse(name, failure)
                self._unread[name] = self._clock.now_ns() + _REFUSED_NS

    async def _refuse(self, name: str, failure: OperatorError | ResponseError) -> None:
        """Say what an operator must act on, or raise it where that ends the process."""
        error = await refusal_of(self._client, self._keys, failure)
        if not isinstance(error, OperatorError) or not self._session.host.outlives_refusals:
            raise error
        self._complaints[name].refused(error)

    async def _load(self, connector: ConnectorInstance) -> Schedule:
        record = await load_schedule(self._client, self._keys, connector.alias)
        if record is None:
            await require_current(self._session)
            raise damaged_schedule(self._keys.schedule(connector.alias), "there is no such key")
        return Schedule(
            connector=connector.alias,
            interval_ms=connector.config.interval,
            missed=connector.config.missed,
            catch_up_ms=connector.config.catch_up,
            next_ms=record.next_ms,
            published=record.published,
            gap=record.gap,
        )

    async def _attempt(self, schedule: Schedule, what: Publication) -> Reply | None:
        """What the script answers; None when it cannot be run, as a key holds something that is not ours."""
        try:
            return await self._publish(schedule, what)
        except ResponseError as failure:
            await self._refuse(schedule.connector, failure)
            return None

    async def _publish(self, schedule: Schedule, what: Publication) -> Reply:
        epoch = self._lease.epoch
        entries = [
            tick_entry(_KIND, t.due_ms, 0, t.n, {"due_ms": t.due_ms, "epoch": epoch, "skipped": t.skipped})
            for t in what.ticks
        ]
        batch = TickBatch(
            connector=schedule.connector,
            published=schedule.published,
            next_ms=schedule.next_ms,
            after_ms=what.after.next_ms,
            through_ms=what.through_ms,
            skipped=what.skipped,
            gap=what.after.gap,
            entries=entries,
        )
        sent_ns = self._clock.now_ns()
        token, cap = self._session.record.token, self._session.host.ticker.backlog
        reply = await publish_ticks(self._client, self._keys, self._lease, token, batch, cap)
        self._time.observe(sent_ns, self._clock.now_ns(), reply.server_us)
        return reply

    def _believe(self, before: Schedule, what: Publication, reply: Reply | None, sent_ns: int) -> Schedule | None:
        """The schedule as it stands after the script's answer; None when it must be read, or publishes no more."""
        name = before.connector
        was_held = self._held.pop(name, None) is not None
        if reply is None:
            self._hold(name, sent_ns, _REFUSED_NS)
            return before
        match reply.outcome:
            case Outcome.PUBLISHED | Outcome.DUPLICATE:
                self._report(name, what, reply)
                return what.after
            case Outcome.MOVED:
                self._unread[name] = 0
                return None
            case Outcome.EARLY:
                return before
            case Outcome.BLOCKED:
                self._complaints[name].refused(_blocked(self._keys.events(name), reply.blocked_by))
                self._hold(name, sent_ns, _REFUSED_NS)
                return before
            case Outcome.FULL | Outcome.PAUSED:
                if not was_held:
                    self._log.warning("source_waits", connector=name, why=reply.outcome.value)
                self._hold(name, sent_ns, _HOLD_NS)
                return before
            case Outcome.LEAVING:
                return None
            case Outcome.STOPPED:
                raise SupersededError(f"this run of {self._keys.flow_name} is over")
            case Outcome.FENCED:
                raise FencedError(f"another process leads {self._keys.flow_name}")
            case outcome:
                assert_never(outcome)

    def _hold(self, name: str, sent_ns: int, span_ns: int) -> None:
        self._held[name] = _Hold(sent_ns, self._clock.now_ns() + span_ns)

    def _report(self, connector: str, what: Publication, reply: Reply) -> None:
        if what.skipped:
            self._log.warning("ticks_skipped", connector=connector, skipped=what.skipped)
        if reply.outcome is Outcome.DUPLICATE:
            self._log.warning("tick_duplicate_refused", connector=connector, through_ms=what.through_ms)
        if what.ticks:
            last = what.ticks[-1]
            late_ms = reply.server_us / 1000 - last.due_ms
            self._log.debug("tick_published", connector=connector, n=last.n, late_ms=round(late_ms, 3))


def _blocked(key: str, last: str) -> OperatorError:
    return OperatorError(
        "no tick can be added to the stream",
        value=key,
        reason=f"it ends at {last}, which lies in the future: somebody else has written there, or the server's clock "
        "was set back. Nothing is lost: ticks wait, and are then late, or skipped as the flow says",
        advice="a clock catches up by itself; else, as soon as `metronome status` shows that nothing waits, put the "
        f"stream aside: `redis-cli RENAME '{key}' '{key}:aside'`, and it is made anew",
    )
