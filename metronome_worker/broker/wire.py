"""One connection to one server: over TCP, TLS or a Unix socket, with time limits, and never deaf to a cancellation."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio import Connection, ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metronome_worker.broker.addresses import Endpoint
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from metronome_worker.broker.addresses import Login, TlsSettings

#: No command may block on the server for longer than this.
LONGEST_BLOCK_MS: Final = 2_000
#: Without an answer for so long the connection counts as lost; well above the longest block.
ANSWER_LIMIT_S: Final = LONGEST_BLOCK_MS / 1000 + 3
CONNECT_LIMIT_S: Final = 3.0
#: A connection that was idle for this long is tried with PING before it is used.
_IDLE_LIMIT_S: Final = 30
#: Keepalive finds a peer that vanished without a word after 15 + 3 × 5 s, also when nothing is sent.
_KEEPALIVE: Final = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}

_CERT_REQS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}


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


class TcpConnection(_Cancellable, Connection):
    """To ``host`` and ``port``; over TLS when it is given a context for that.

    ``on_error`` hears of each error that is the answer, or comes in its place, and of whose it is.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        on_error: Callable[[RedisError, Endpoint], None] | None = None,
        **settings: Any,
    ) -> None:
        self._tls, self._on_error = tls, on_error
        self._is_retired = False
        super().__init__(**settings)

    def retire(self) -> None:
        """Be of no use any more: whoever waits for an answer, or sends something, is told that it is lost."""
        self._is_retired = True
        if self._writer is not None:
            # Only the transport: who reads finds the end of the stream.  Closing would wait for the peer of TLS.
            self._writer.transport.abort()

    async def _send_packed_command(self, command: Any) -> None:
        if self._is_retired:
            raise ConnectionResetError("another server has taken this one's place")
        await super()._send_packed_command(command)

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = {"host": self.host, "port": self.port}
        return arguments if self._tls is None else arguments | {"ssl": self._tls}

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except RedisError as error:
            if self._on_error is not None:
                self._on_error(error, Endpoint(self.host, self.port))
            raise


class Pool(ConnectionPool):
    """Connections to one server.

    redis-py before 6 opens them one after the other, and whoever needs one that is open already waits for that: a
    process that begins to follow many flows could not renew its leases in time.
    """

    _is_retired = False

    def retire(self) -> None:
        """Cut all connections, also those in use, and give away no more."""
        self._is_retired = True
        connections: list[Any] = [*self._available_connections, *self._in_use_connections]
        for connection in connections:
            connection.retire()

    async def release(self, connection: AbstractConnection) -> None:
        if self._is_retired:
            await connection.disconnect(nowait=True)
        await super().release(connection)

    async def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        if self._is_retired:
            raise RedisConnectionError("another server has taken this one's place")
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection


class SocketConnection(_Cancellable, UnixDomainSocketConnection):
    """To the Unix socket at ``path``."""


def connection_settings(name: str, login: Login, db: int = 0) -> dict[str, Any]:
    """What every connection is opened with.  ``name`` is what CLIENT LIST shows.

    redis-py's own retries are off: it would repeat a write whose reply was lost without asking whether that is
    harmless.  ``Patience`` repeats, around operations that say so.
    """
    return {
        "client_name": name,
        "username": login.username,
        "password": login.password,
        "db": db,
        "decode_responses": False,
        "socket_timeout": ANSWER_LIMIT_S,
        "socket_connect_timeout": CONNECT_LIMIT_S,
        "health_check_interval": _IDLE_LIMIT_S,
        "retry": Retry(NoBackoff(), 0),
    }


def network_settings(tls: TlsSettings | None) -> dict[str, Any]:
    """What connections over a network have besides.  Raises ``OperatorError`` for a file that TLS cannot use."""
    options = {getattr(socket, option): value for option, value in _KEEPALIVE.items() if hasattr(socket, option)}
    return {
        "socket_keepalive": True,
        "socket_keepalive_options": options,
        "tls": None if tls is None else tls_context(tls),
    }


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """Made once, as reading the certificates of a machine takes long.  Raises ``OperatorError`` for a bad file."""
    context = ssl.create_default_context()
    context.check_hostname = tls.check_hostname
    context.verify_mode = _CERT_REQS[tls.cert_reqs]
    if tls.ca_certs is not None:
        try:
            context.load_verify_locations(cafile=tls.ca_certs)
        except OSError as error:
            raise _file_error("ssl_ca_certs", tls.ca_certs, error) from error
    if tls.certfile is not None and tls.keyfile is not None:
        try:
            # Without a password OpenSSL would ask for one on the terminal.
            context.load_cert_chain(tls.certfile, tls.keyfile, password="")
        except OSError as error:
            both = " and ".join(dict.fromkeys((tls.certfile, tls.keyfile)))
            raise _file_error("ssl_certfile and ssl_keyfile", both, error) from error
    return context


def _file_error(setting: str, value: str, error: OSError) -> OperatorError:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return OperatorError(
        f"TLS cannot use the file that {setting} of the Redis URL names:",
        value=value,
        reason=reason or str(error),
        advice="It must be in the PEM format, readable for this user, and a key must not be encrypted.",
    )
