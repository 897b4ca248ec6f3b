"""Following a flow: what comes before the work holds nobody up."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, cast

import structlog

from metronome_worker.broker.connection import Patience
from metronome_worker.clock import SystemClock
from metronome_worker.host import Host
from metronome_worker.session import follow
from tests.contract.flowkit import deployed

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from metronome_worker.assembly import Workshop
    from metronome_worker.session import Session

LIMIT_S = 10.0


class SlowWorkshop:
    """Makes a plan of nothing once it is allowed to."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()
        self.is_late = False

    def plan_of(self, _: object) -> Any:
        self.has_begun.set()
        self.is_late = not self.may_end.wait(LIMIT_S)


def host_of(client: Redis, namespace: str, workshop: SlowWorkshop) -> Host:
    clock, random, log = SystemClock(), Random(1), structlog.get_logger()
    return Host(
        client=client,
        namespace=namespace,
        clock=clock,
        random=random,
        log=log,
        patience=Patience("redis://here", clock, random, log),
        workshop=cast("Workshop", workshop),
        folder=Path(),
        stdin=io.BytesIO(),
        stdout=io.BytesIO(),
        stderr=io.BytesIO(),
    )


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, LIMIT_S)


async def test_leases_are_renewed_while_a_plan_is_made(client: Redis, namespace: str) -> None:
    workshop = SlowWorkshop()
    worked: list[Session] = []
    await deployed(client, namespace)

    async def work(session: Session) -> None:
        worked.append(session)

    following = asyncio.create_task(follow(host_of(client, namespace, workshop), "main", 1_500, work))
    await until(workshop.has_begun)
    workshop.may_end.set()  # who got here had a turn meanwhile, as a renewal would have
    assert await following is None
    assert len(worked) == 1
    assert not workshop.is_late, "nobody had a turn"


async def test_a_process_that_is_told_to_stop_waits_for_no_plan(client: Redis, namespace: str) -> None:
    workshop, stopping = SlowWorkshop(), asyncio.Event()
    await deployed(client, namespace)

    async def work(_: Session) -> None:
        raise AssertionError("it was told to stop")

    following = asyncio.create_task(follow(host_of(client, namespace, workshop), "main", 1_500, work, stopping))
    await until(workshop.has_begun)
    stopping.set()
    assert await following is None
    assert not workshop.may_end.is_set()
    workshop.may_end.set()
