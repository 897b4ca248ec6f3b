"""Does one side speak TLS and the other not, or want a certificate that the other does not have?

Neither says so: one hangs up, or both wait for the other.

Asked only when nothing came of a connection at the start, to say what is wrong in the place of that it failed.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from metronome_worker.broker.addresses import parse_url, redact
from metronome_worker.broker.outages import certificate_wanted
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from metronome_worker.broker.addresses import Endpoint

_LIMIT_S: Final = 1.0


async def tls_mismatch(url: str) -> OperatorError | None:
    """What to say when a server that ``url`` names speaks TLS and the URL does not say so, or the other way round, or
    wants a certificate that the URL does not name.
    """
    parsed, shown = parse_url(url), redact(url)
    for server in parsed.endpoints:
        if parsed.tls is not None and parsed.tls.certfile is None and await _wants_certificate(server):
            return certificate_wanted(str(server), "it wants a certificate of ours")
        if parsed.tls is not None and await _speaks_plainly(server):
            return OperatorError(
                "this Redis does not speak TLS:",
                value=str(server),
                reason=f"the URL asks for it ({shown})",
                advice=f"Write {shown.replace('rediss', 'redis', 1).partition('?')[0]} or name its TLS port.",
            )
        if parsed.tls is None and await _speaks_tls(server):
            return OperatorError(
                "this Redis speaks TLS:",
                value=str(server),
                reason=f"the URL does not ask for it ({shown})",
                advice=f"Write {shown.replace('redis', 'rediss', 1)}, with ?ssl_ca_certs=FILE for your own authority.",
            )
    return None


async def _speaks_plainly(server: Endpoint) -> bool:
    with suppress(OSError):
        async with _connected(server, None) as (reader, writer):
            writer.write(b"PING\r\n")
            return (await reader.read(1)) in (b"+", b"-")
    return False


async def _speaks_tls(server: Endpoint) -> bool:
    with suppress(OSError):
        async with _connected(server, _trusting()):
            return True
    return False


async def _wants_certificate(server: Endpoint) -> bool:
    """Whoever does says so behind the handshake.  A client that has sent something by then may not hear it any more."""
    try:
        async with _connected(server, _trusting()) as (reader, _):
            await reader.read(1)
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return False


@asynccontextmanager
async def _connected(
    server: Endpoint, tls: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """For a moment; nothing of the connection is left behind."""
    async with asyncio.timeout(_LIMIT_S):
        reader, writer = await asyncio.open_connection(server.host, server.port, ssl=tls)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()


def _trusting() -> ssl.SSLContext:
    """Nothing is told to whoever answers: it need not be trusted."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
