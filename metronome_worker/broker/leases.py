"""Leases: who works.  What is true is decided by the scripts, which refuse an epoch that is not the lease's.

A lease is a key with a TTL that holds ``<epoch> <holder>``.  Its holder trusts it until *the moment the last renewal
was sent* + TTL − margin, on a clock that counts through suspend, and stops by itself when that passes.  Stopping is
for liveness alone: a holder that wakes up too late finds every write refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from redis.exceptions import RedisError

from metronome_worker.broker.outages import is_outage
from metronome_worker.broker.rounds import Rounds
from metronome_worker.broker.scripts import run_script
from metronome_worker.clock import NS_PER_MS, NS_PER_S
from metronome_worker.errors import FencedError, SupersededError
from metronome_worker.tasks import until_first_done

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from random import Random

    from redis.asyncio import Redis

    from metronome_worker.broker.keys import FlowKeys
    from metronome_worker.clock import Clock

T = TypeVar("T")

#: Renewals per TTL: two may fail before the lease lapses.
_RENEWALS_PER_TTL = 3

#: How long a renewal waits for others to go out with it, seconds; but never for more than such a part of a TTL.
_RENEWALS_WAIT_S = 0.05
_RENEWALS_WAIT_PART = 1 / 30

#: The same for an attempt to acquire, seconds: as long as a lease that has lapsed waits for its next holder.
_ATTEMPTS_WAIT_S = 0.002


class Lease(Struct, frozen=True):
    """A lease that was acquired: ``value`` is what the key holds, ``"<epoch> <holder>"``."""

    name: str
    epoch: int
    value: str
    acquired_ns: int


class Held(Struct, frozen=True):
    """The lease is another's, for at most ``wait_ms`` more unless it is renewed."""

    wait_ms: int


class Leases:
    """Acquires, keeps and releases the leases of one flow for one process."""

    def __init__(
        self,
        client: Redis,
        keys: FlowKeys,
        clock: Clock,
        random: Random,
        ttl_ms: int,
        rounds: Rounds | None = None,
    ) -> None:
        self._client, self._keys, self._random = client, keys, random
        self._rounds = rounds or Rounds()
        self.clock = clock
        self.ttl_ms = ttl_ms
        #: Clocks run at slightly different speeds, and a write that starts in time must still arrive in time.
        self.margin_ms = max(1, ttl_ms // 10)
        #: Epoch to the moment on our clock until which that lease is trusted; only of leases that are held.
        self._trusted_until_ns: dict[int, int] = {}

    def new_holder(self) -> str:
        """A name for one contender: random, as host names and process IDs repeat."""
        return f"{self._random.getrandbits(64):016x}"

    async def acquire(self, name: str, holder: str) -> Lease | Held:
        """Take the lease if nobody holds it.  Each attempt that must not revive an earlier one needs a new holder."""
        sent_ns = self.clock.now_ns()
        keys = [self._keys.lease(name), self._keys.epoch]
        epoch, left_ms = await self._rounds.run_script(
            self._client, "acquire_lease", keys, [holder, self.ttl_ms], _ATTEMPTS_WAIT_S
        )
        if not epoch:
            return Held(left_ms)
        self._trusted_until_ns[epoch] = self._trust(sent_ns)
        return Lease(name, epoch, f"{epoch} {holder}", sent_ns)

    async def renew(self, lease: Lease) -> bool:
        """Hold it for another term; False when it is lost."""
        wait_s = min(_RENEWALS_WAIT_S, self.ttl_ms / 1000 * _RENEWALS_WAIT_PART)
        renewed = await self._rounds.run_script(
            self._client, "renew_lease", [self._keys.lease(lease.name)], [lease.value, self.ttl_ms], wait_s
        )
        return bool(renewed)

    async def release(self, lease: Lease) -> bool:
        """Give it back and announce that; False when it was lost already."""
        released = await run_script(
            self._client,
            "release_lease",
            [self._keys.lease(lease.name)],
            [lease.value, self._keys.news, lease.name],
        )
        return bool(released)

    def is_trusted(self, lease: Lease) -> bool:
        """Whether the lease is ours as far as our clock can tell.

        To be asked immediately before what no script can refuse, such as cutting a file: a process that was stopped
        since it last heard from Redis finds here that it may be too late.  Safe to call from any thread.
        """
        return self.clock.now_ns() < self._trusted_until_ns.get(lease.epoch, 0)

    async def keep(self, lease: Lease) -> None:
        """Renew until cancelled.  Raises ``FencedError`` when the lease is lost or can no longer be trusted."""
        trusted_until_ns = self._trust(lease.acquired_ns)
        pause_s = self.ttl_ms / 1000 / _RENEWALS_PER_TTL
        while True:
            await self.clock.sleep(min(pause_s, max(0.0, (trusted_until_ns - self.clock.now_ns()) / NS_PER_S)))
            sent_ns = self.clock.now_ns()
            if sent_ns >= trusted_until_ns:
                raise FencedError(f"the lease {lease.name} (epoch {lease.epoch}) ran out before it could be renewed")
            try:
                async with asyncio.timeout((trusted_until_ns - sent_ns) / NS_PER_S):
                    is_ours = await self.renew(lease)
            except (TimeoutError, RedisError) as error:
                if isinstance(error, RedisError) and not is_outage(error):
                    raise
                pause_s = self.ttl_ms / 1000 / _RENEWALS_PER_TTL / 4
                continue
            if not is_ours:
                raise FencedError(f"the lease {lease.name} (epoch {lease.epoch}) is no longer ours")
            trusted_until_ns = self._trusted_until_ns[lease.epoch] = self._trust(sent_ns)
            pause_s = self.ttl_ms / 1000 / _RENEWALS_PER_TTL

    def _trust(self, sent_ns: int) -> int:
        return sent_ns + (self.ttl_ms - self.margin_ms) * NS_PER_MS

    async def work_under(self, lease: Lease, work: Coroutine[None, None, T]) -> T:
        """Do ``work`` while the lease is kept; cancel it and raise ``FencedError`` as soon as it is lost.

        The lease is released when the work is done or fails, unless it is lost.  Cancelling cancels the work first,
        then releases, within one TTL.
        """
        try:
            return await self._work_while_kept(lease, work)
        finally:
            self._trusted_until_ns.pop(lease.epoch, None)
            await self._release_quietly(lease)

    async def _work_while_kept(self, lease: Lease, work: Coroutine[None, None, T]) -> T:
        try:
            working, _ = await until_first_done(work, self.keep(lease))
        except BaseExceptionGroup as failures:
            raise first_of(failures) from None
        result: T = working.result()
        return result

    async def _release_quietly(self, lease: Lease) -> None:
        """Best effort: a lease that is not released lapses by itself.  A cancellation waits until it is released."""
        releasing = asyncio.ensure_future(self._try_to_release(lease))
        # What fails while nobody waits for it any more is nobody's concern: the lease lapses.
        releasing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await asyncio.shield(releasing)
        except asyncio.CancelledError:
            await asyncio.wait({releasing})
            raise

    async def _try_to_release(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(self.ttl_ms / 1000):
                await self.release(lease)
        except (TimeoutError, RedisError) as error:
            if isinstance(error, RedisError) and not is_outage(error):
                raise


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that a group of tasks is about: the first that is not a lost lease or a run that is over, if any."""
    leaves = list(_leaves(group))
    return next((leaf for leaf in leaves if not isinstance(leaf, (FencedError, SupersededError))), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for inner in group.exceptions:
        found += _leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return found
