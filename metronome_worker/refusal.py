"""What an operator must act on stops only what it is about: other flows, and other stages of the same one, go on.

It is said once, again each minute while it lasts, and tried again after pauses that grow: so whatever puts it right,
a correction by hand or a good revision, is taken up within seconds, and nothing has to be restarted.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from redis.exceptions import ResponseError

from metronome_worker.broker.campaign import unless
from metronome_worker.broker.damage import refusal_of
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.clock import NS_PER_S
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.clock import Clock
    from metronome_worker.host import Host

T = TypeVar("T")

#: Between two attempts, seconds: the first pause, and what they grow to.
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 10.0

#: How often the same is said again while it lasts.
_SAID_AGAIN_NS: Final = 60 * NS_PER_S


class Complaints:
    """Says what is wrong when it is new, or was said long ago."""

    def __init__(self, clock: Clock, log: FilteringBoundLogger) -> None:
        self._clock, self._log = clock, log
        self._said = ""
        self._said_ns = 0

    def refused(self, error: OperatorError) -> None:
        """What ``error`` is about cannot go on."""
        now_ns = self._clock.now_ns()
        if str(error) == self._said and now_ns - self._said_ns < _SAID_AGAIN_NS:
            return
        self._said, self._said_ns = str(error), now_ns
        self._log.error(
            "operator_must_act", what=error.what.rstrip(":"), value=error.value, why=error.reason, advice=error.advice
        )


async def outlive(
    host: Host,
    flow: str,
    log: FilteringBoundLogger,
    work: Callable[[], Awaitable[T]],
    stopping: asyncio.Event | None = None,
) -> T | None:
    """Do ``work`` until it ends, again and again while somebody must act on it; None once ``stopping`` is set.

    ``log``: bound to what the work is about.  Where a host is there for one flow alone, what is refused is raised.
    """
    complaints = Complaints(host.clock, log)
    pause_s = FIRST_PAUSE_S
    while True:
        began_ns = host.clock.now_ns()
        try:
            return await work()
        except (OperatorError, ResponseError) as failure:
            error = await refusal_of(host.client, FlowKeys(flow, host.namespace), failure)
            if not isinstance(error, OperatorError) or not host.outlives_refusals:
                raise error from None
        complaints.refused(error)
        if host.clock.now_ns() - began_ns > _SAID_AGAIN_NS:
            pause_s = FIRST_PAUSE_S  # it has worked for long
        await unless(stopping, host.clock.sleep(pause_s))
        if stopping is not None and stopping.is_set():
            return None
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
