"""News: what is announced of flows.  One connection listens for all flows that a process follows on one server.

An announcement says that a lease was given back, or that a flow was deployed or resumed.  One that is missed costs only
time: whoever waits for news looks by itself, too, after a while.  That the subscription has begun is news as well, as
nobody knows what was announced before.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from metronome_worker.broker.routing import home_of
from metronome_worker.broker.wire import ANSWER_LIMIT_S

if TYPE_CHECKING:
    from redis.asyncio import ConnectionPool, Redis

    from metronome_worker.broker.keys import FlowKeys


class Feed:
    """What is heard of one flow.  ``heard`` counts it; compare to know whether there is news."""

    def __init__(self, desk: NewsDesk, client: Redis, keys: FlowKeys) -> None:
        self._desk, self._client = desk, client
        self.channel = keys.news.encode()
        self.heard = 0
        self._next = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled.  Raises what the client raises."""
        await self._desk.listen(self._client, self)

    def hear(self) -> None:
        """Something was announced."""
        self.heard += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, since: int, seconds: float) -> None:
        """Until more than ``since`` announcements are heard, at most ``seconds``."""
        if self.heard <= since:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._next.wait()


class NewsDesk:
    """The connections on which one process listens: one to each server, as long as anybody listens to it."""

    def __init__(self, silence_s: float = ANSWER_LIMIT_S) -> None:
        """``silence_s``: after so long without a word a server is asked for one, and given as long to answer."""
        self._silence_s = silence_s
        self._lines: dict[ConnectionPool, _Line] = {}

    async def listen(self, client: Redis, feed: Feed) -> None:
        """Pass on what is announced on the feed's channel, until cancelled.

        Raises what the client raises, to everybody who listens on the same connection.
        """
        home = await home_of(client.connection_pool)
        line = self._lines.setdefault(home, _Line(home, self._silence_s))
        try:
            await line.join(feed)
            await line.read()
        finally:
            # Before anything is waited for: who comes now must not join what is being closed.
            if line.is_over(without=feed) and self._lines.get(home) is line:
                del self._lines[home]
            await line.leave(feed)


class _Line:
    """One connection.  Whoever has joined and comes first reads for all; when it leaves, another one goes on."""

    def __init__(self, home: ConnectionPool, silence_s: float) -> None:
        self._pubsub, self._silence_s = PubSub(home), silence_s
        self._feeds: dict[bytes, list[Feed]] = {}
        self._connecting, self._reading = asyncio.Lock(), asyncio.Lock()
        self._is_asked = False
        self._failure: RedisError | None = None

    async def join(self, feed: Feed) -> None:
        self._feeds.setdefault(feed.channel, []).append(feed)
        async with self._connecting:  # two at once would open two connections
            await self._pubsub.subscribe(feed.channel)

    def is_over(self, without: Feed) -> bool:
        """Whether nobody else listens, or nothing is heard any more."""
        return self._failure is not None or [feed for feeds in self._feeds.values() for feed in feeds] == [without]

    async def leave(self, feed: Feed) -> None:
        """The last one closes the connection.

        Until then the channel stays: an order that is on its way while somebody else closes the connection would reach
        whoever is given that next, and its answer be taken for theirs.
        """
        feeds = self._feeds[feed.channel]
        feeds.remove(feed)
        if not feeds:
            del self._feeds[feed.channel]
        if not self._feeds:
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def read(self) -> None:
        async with self._reading:
            while True:
                if self._failure is not None:
                    raise self._failure
                try:
                    await self._read_once()
                except RedisError as error:
                    self._failure = error

    async def _read_once(self) -> None:
        """Take in one announcement.  A server that says nothing for long is asked whether it is there."""
        message = await self._pubsub.get_message(timeout=self._silence_s)
        if message is None and self._is_asked:
            raise RedisConnectionError("nothing is heard from the server any more")
        self._is_asked = message is None
        if message is None:
            await self._pubsub.ping()
        elif message["type"] in ("subscribe", "message"):
            for feed in self._feeds.get(message["channel"], ()):
                feed.hear()
