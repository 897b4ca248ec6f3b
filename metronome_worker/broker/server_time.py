"""What the server's clock says, as far as this process can know.

Only the server's clock counts for ticks; ours only tells how long to wait.  Each reply that carries the server's time
bounds the offset between the two clocks: it was read after the request was sent and before the reply arrived.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

from metronome_worker.broker.ticks import server_us

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.clock import Clock

#: How many replies are remembered; the one that bounds the offset best by now is believed.
_SAMPLES = 64

#: How often the server is asked for its time at first: the shortest round trip tells best.
_QUESTIONS = 3

#: By how much two clocks may run apart, in parts per million, before we think that one of them was set.
_DRIFT_PPM = 500

#: By how much they usually do: so fast an old reply loses its worth.  Were it more, a moment of slow replies would
#: push out what is known well; at this pace an hour makes 360 ms of it.
_WANDER_PPM = 50


class _Sample(Struct, frozen=True):
    at_ns: int
    low_ns: int
    high_ns: int

    def width_at(self, local_ns: int) -> int:
        """How wide its bounds are by now: clocks run apart, so a short round trip of long ago says little."""
        return self.high_ns - self.low_ns + 2 * _apart_ns(self.at_ns, local_ns, _WANDER_PPM)


class ServerTime:
    """An estimate of ``server - local``, made of the replies seen so far.  Pure: it is told what was asked when."""

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=_SAMPLES)
        self._offset_ns = 0

    @property
    def is_known(self) -> bool:
        return bool(self._samples)

    def observe(self, sent_ns: int, received_ns: int, server_us: int) -> None:
        """A request sent at ``sent_ns`` was answered at ``received_ns`` (both local) and saw ``server_us``."""
        server_ns = server_us * 1_000
        sample = _Sample(received_ns, server_ns - received_ns, server_ns - sent_ns)
        if any(self._contradicts(sample, old) for old in self._samples):
            self._samples.clear()
        self._samples.append(sample)
        best = min(self._samples, key=lambda s: s.width_at(received_ns))
        self._offset_ns = (best.low_ns + best.high_ns) // 2

    def now_ms(self, local_ns: int) -> int:
        """The server's time in whole milliseconds, rounded down as the scripts do."""
        return (local_ns + self._offset_ns) // 1_000_000

    def local_ns(self, server_ms: int) -> int:
        """When, on the local clock, the server's clock will show ``server_ms``."""
        return server_ms * 1_000_000 - self._offset_ns

    @staticmethod
    def _contradicts(new: _Sample, old: _Sample) -> bool:
        slack_ns = _apart_ns(old.at_ns, new.at_ns, _DRIFT_PPM) + 1_000_000
        return new.low_ns > old.high_ns + slack_ns or new.high_ns < old.low_ns - slack_ns


def _apart_ns(from_ns: int, to_ns: int, ppm: int) -> int:
    """By how much two clocks run apart at this pace between two moments."""
    return abs(to_ns - from_ns) * ppm // 1_000_000


async def ask_time(client: Redis, clock: Clock, time: ServerTime) -> None:
    """Learn the server's time by asking for it."""
    for _ in range(_QUESTIONS):
        sent_ns = clock.now_ns()
        told_us = await server_us(client)
        time.observe(sent_ns, clock.now_ns(), told_us)
