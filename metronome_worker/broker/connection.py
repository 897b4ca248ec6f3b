"""The connection to Redis: opened with time-outs, translated at this edge, waited for when it is lost."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from redis.asyncio import Connection, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metronome_worker.clock import NS_PER_MS
from metronome_worker.errors import BrokerUnavailable, OperatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from random import Random

    from structlog.typing import FilteringBoundLogger

    from metronome_worker.clock import Clock

T = TypeVar("T")

#: No command may block on the server for longer than this.
LONGEST_BLOCK_MS: Final = 2_000
#: Without an answer for so long the connection counts as lost; well above the longest block.
ANSWER_LIMIT_S: Final = LONGEST_BLOCK_MS / 1000 + 3
CONNECT_LIMIT_S: Final = 3.0
#: A connection that was idle for this long is tried with PING before it is used.
_IDLE_LIMIT_S: Final = 30
#: Keepalive finds a peer that vanished without a word after 15 + 3 × 5 s, also when nothing is sent.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

_SCHEMES: Final = ("redis", "rediss", "unix")
_TLS_SETTINGS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_QUOTING: Final = "inside a password write %23 for #, %2F for /, %3A for :, %40 for @"
_URL_ADVICE: Final = "Write redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… for TLS, or unix:///PATH?db=DB."

#: What passes by itself: the server is away, starting, failing over, or refuses writes for the time being.  What was
#: asked may or may not have happened.  (A wrong password is a connection error to redis-py; see ``is_outage``.)
OUTAGES: Final = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    ClusterDownError,
    TryAgainError,
    BrokerUnavailable,
)
#: The same, for replies that redis-py has no exception for.
_OUTAGE_CODES: Final = ("MISCONF ", "LOADING ", "MASTERDOWN ", "READONLY ", "OOM ")
_REFUSED: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class _Cancellable(AbstractConnection):
    """Sends without ``asyncio.wait_for``, through which redis-py sends every command that has a time limit.

    In Python 3.11 a task that is cancelled in the moment in which the inner one is done is given the result instead:
    the cancellation is lost, and whoever waits for the task's end waits for ever.  (3.12 is right.)
    """

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(command)
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise RedisTimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"Error while writing to socket: {error}") from error
        except BaseException:
            # A connection that was sent a part of a command is of no use any more.
            await self.disconnect(nowait=True)
            raise


class _TcpConnection(_Cancellable, Connection):
    pass


class _TlsConnection(_Cancellable, SSLConnection):
    pass


class _SocketConnection(_Cancellable, UnixDomainSocketConnection):
    pass


_CONNECTIONS: Final = {"redis": _TcpConnection, "rediss": _TlsConnection, "unix": _SocketConnection}


def redact(url: str) -> str:
    """The URL as it may be shown: without its password, also when it is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    userinfo, at, host = rest.rpartition("@")
    if at:
        user, has_password, _ = userinfo.partition(":")
        # Without a colon it is a user's name to Redis, but a password to many who write it.
        rest = (f"{user}:***" if has_password else "***") + "@" + host
    return re.sub(r"(?i)\b(password|username)=[^&#]*", r"\1=***", scheme + separator + rest)


def address(url: str) -> str:
    """``HOST:PORT`` or the socket's path, for messages."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    return f"{parts.hostname or 'localhost'}:{parts.port or 6379}"


def open_client(url: str, *, name: str = "metronome") -> Redis:
    """A client for ``url``; nothing is sent yet, replies are bytes.  ``name`` is what CLIENT LIST shows.

    redis-py's own retries are off: it would repeat a write whose reply was lost without asking whether that is
    harmless.  ``Patience`` repeats, around operations that say so.  Raises OperatorError for a URL that is wrong.
    """
    parts = _check_url(url)
    settings: dict[str, Any] = {}
    if parts.scheme != "unix":
        settings = {
            "socket_keepalive": True,
            "socket_keepalive_options": {
                getattr(socket, option): value for option, value in _KEEPALIVE.items() if hasattr(socket, option)
            },
        }
    client: Redis = Redis.from_url(
        url,
        client_name=name,
        decode_responses=False,
        socket_timeout=ANSWER_LIMIT_S,
        socket_connect_timeout=CONNECT_LIMIT_S,
        health_check_interval=_IDLE_LIMIT_S,
        retry=Retry(NoBackoff(), 0),
        **settings,
    )
    # Not as an argument: the scheme of the URL would win over it.
    client.connection_pool.connection_class = _CONNECTIONS[parts.scheme]
    return client


def _check_url(url: str) -> SplitResult:
    """redis-py passes over what it does not understand (a database that is no number, a setting it does not know)."""
    reason = ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        # urllib quotes the port, which is the password when that holds a slash: its words are not passed on.
        hint = f"; {_QUOTING}" if "@" in url else ""
        raise _url_error(url, f"the port must be a number from 1 to 65535{hint}") from None
    if "://" not in url or parts.scheme not in _SCHEMES:
        reason = f"the scheme must be {', '.join(_SCHEMES[:-1])} or {_SCHEMES[-1]}"
    elif parts.fragment:
        reason = f"there is a # in it; {_QUOTING}"
    elif port == 0:
        reason = "the port must be a number from 1 to 65535"
    elif parts.scheme == "unix" and len(parts.path) < 2:
        reason = "the path of the socket is missing"
    elif parts.scheme != "unix" and not re.fullmatch(r"(/\d*)?", parts.path):
        reason = "what follows the host must be the number of a database, as in /0"
    else:
        reason = _check_settings(parts)
    if reason:
        raise _url_error(url, reason)
    return parts


def _check_settings(parts: SplitResult) -> str:
    known = ("db", *_TLS_SETTINGS) if parts.scheme == "rediss" else ("db",)
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            return f"unknown setting {name}; known: {', '.join(known)}"
        if name == "db" and not value.isdecimal():
            return "db must be a number"
    return ""


def _url_error(url: str, reason: str) -> OperatorError:
    return OperatorError("this is not the URL of a Redis:", value=redact(url), reason=reason, advice=_URL_ADVICE)


def is_outage(error: BaseException) -> bool:
    """Whether waiting and trying again is the right answer to ``error``."""
    if isinstance(error, _REFUSED):
        return False
    return isinstance(error, OUTAGES) or (isinstance(error, ResponseError) and str(error).startswith(_OUTAGE_CODES))


def translate(error: Exception, url: str) -> Exception:
    """``error`` in our words: OperatorError, BrokerUnavailable, or itself when it is a bug of ours."""
    if isinstance(error.__cause__, _REFUSED):
        error = error.__cause__  # redis-py wraps what happens while it connects to a Unix socket
    where = address(url)
    match error:
        case AuthenticationError() | AuthorizationError():
            has_password = urlsplit(url).password is not None
            return OperatorError(
                "Redis refuses the password in" if has_password else "Redis asks for a password:",
                value=redact(url),
                reason=str(error),
                advice=f"Put the right one into the URL: redis://USER:PASSWORD@{where}/0 (USER may be left out).",
            )
        case NoPermissionError():
            user = urlsplit(url).username or "default"
            return OperatorError(
                f"the Redis user {user} may not do what is needed at",
                value=where,
                reason=str(error),
                advice=f"Allow it: ACL SETUSER {user} ~metronome:* &metronome:* "
                "+@read +@write +@stream +@scripting +@pubsub +@connection +info +time",
            )
        case InvalidResponse():
            return OperatorError(
                "what answers is not a Redis:",
                value=where,
                reason=str(error),
                advice="Check host and port; with TLS the URL begins with rediss://",
            )
        case RedisError() if is_outage(error):
            return BrokerUnavailable(f"Redis at {where} did not do what was asked: {reason_of(error)}")
        case _:
            return error


def reason_of(error: BaseException) -> str:
    return str(error) or type(error).__name__


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Around commands: redis-py's exceptions become OperatorError or BrokerUnavailable; a bug of ours stays."""
    try:
        yield
    except RedisError as error:
        raise_translated(error, url)


def raise_translated(error: Exception, url: str) -> NoReturn:
    translation = translate(error, url)
    raise translation from (None if translation is error else error)


class Patience:
    """Waits for a Redis that went away, and does again what was interrupted.

    One for all tasks of a process, so that an outage is logged once when it begins and once when it is over,
    however many tasks it stops.  Waits grow from ``first_wait_ms`` to ``longest_wait_ms``, by jitter less than that,
    so that many processes do not come back at the same moment.
    """

    def __init__(
        self,
        url: str,
        clock: Clock,
        random: Random,
        log: FilteringBoundLogger,
        *,
        first_wait_ms: int = 20,
        longest_wait_ms: int = 2_000,
    ) -> None:
        self._url, self._clock, self._random, self._log = url, clock, random, log
        self._first_wait_ms, self._longest_wait_ms = first_wait_ms, longest_wait_ms
        self._waiting = 0
        self._away_since_ns = 0

    async def insist(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Do ``operation`` until Redis answers, and return what it returns.

        It must be idempotent: an attempt whose answer was lost may have happened.  Raises OperatorError when Redis
        refuses us for good, and whatever else the operation raises.  Cancelling ends the waiting.
        """
        wait_ms, is_waiting = float(self._first_wait_ms), False
        try:
            while True:
                try:
                    result = await operation()
                except (RedisError, BrokerUnavailable) as error:
                    if not is_outage(error):
                        raise_translated(error, self._url)
                    if not is_waiting:
                        is_waiting = True
                        self._begin_waiting(error)
                else:
                    if is_waiting:
                        self._note_answer()
                    return result
                await self._clock.sleep(wait_ms / 1000 * self._random.uniform(0.5, 1.0))
                wait_ms = min(2 * wait_ms, float(self._longest_wait_ms))
        finally:
            self._waiting -= is_waiting

    def _begin_waiting(self, error: BaseException) -> None:
        self._waiting += 1
        if self._waiting == 1:
            self._away_since_ns = self._clock.now_ns()
            self._log.warning("redis_away", server=address(self._url), reason=reason_of(error))

    def _note_answer(self) -> None:
        if self._waiting == 1:
            away_ms = (self._clock.now_ns() - self._away_since_ns) // NS_PER_MS
            self._log.info("redis_back", server=address(self._url), away_ms=away_ms)
