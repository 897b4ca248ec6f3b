"""Being there: a process says in every flow that it follows that it is alive, and learns how many others are.

From that it knows its share of the work.  Nothing that must be true depends on it.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from redis.exceptions import RedisError, ResponseError

from metronome_worker.broker.cluster import flow_client
from metronome_worker.broker.damage import refusal_of
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.members import HEARTBEAT_MS, MEMBER_TTL_MS, Member, announce
from metronome_worker.broker.outages import is_outage
from metronome_worker.errors import OperatorError
from metronome_worker.refusal import Complaints

if TYPE_CHECKING:
    from metronome_worker.host import Host
    from metronome_worker.share import Share


class Presence:
    """One process in all flows that it follows."""

    def __init__(self, host: Host, role: str, share: Share, since: str) -> None:
        self._host, self._role, self._share, self._since = host, role, share, since
        self._told = set[str]()
        self._name = f"{host.random.getrandbits(64):016x}"
        self._log = host.log.bind(role=role)
        self._complaints = defaultdict[str, Complaints](lambda: Complaints(host.clock, self._log))

    async def run(self) -> None:
        """Say so until cancelled, then say goodbye.  A Redis that is away is left to others to wait for."""
        try:
            while True:
                await self._beat()
                await self._host.clock.sleep(HEARTBEAT_MS / 1000)
        finally:
            # A Redis that does not answer is no reason to leave otherwise than in order.
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._say_goodbye()

    async def _beat(self) -> None:
        try:
            # A node of a cluster that is away must not make us late where others listen.
            async with asyncio.timeout(MEMBER_TTL_MS / 2 / 1000):
                heard = await asyncio.gather(*(self._announce(flow) for flow in self._share.flows))
        except TimeoutError:
            return
        except RedisError as error:
            if not is_outage(error):
                raise
            return
        peers = {name for members in heard for name, member in members.items() if member.role == self._role}
        self._share.members = max(1, len(peers))
        for flow, piece in self._share.hand_over_surplus():
            self._log.info("handing_over", flow=flow, lease=piece, members=self._share.members)

    async def _announce(self, flow: str) -> dict[str, Member]:
        pieces = (*self._share.held, *self._share.joined)
        holds = tuple(piece for held_flow, piece in pieces if held_flow == flow)
        member = Member(role=self._role, host=socket.gethostname(), pid=os.getpid(), since=self._since, holds=holds)
        keys = FlowKeys(flow, self._host.namespace)
        self._told.add(flow)
        try:
            return await announce(flow_client(self._host.client, keys), keys, self._name, member, self._host.rounds)
        except ResponseError as failure:
            error = await refusal_of(self._host.client, keys, failure)
            if not isinstance(error, OperatorError):
                raise
            self._complaints[flow].refused(error)
            return {}

    async def _say_goodbye(self) -> None:
        try:
            await asyncio.gather(*(self._leave(flow) for flow in self._told))
        except RedisError as error:
            if not is_outage(error):
                raise

    async def _leave(self, flow: str) -> None:
        keys = FlowKeys(flow, self._host.namespace)
        with suppress(ResponseError):  # said before
            await announce(flow_client(self._host.client, keys), keys, self._name, None, self._host.rounds)
