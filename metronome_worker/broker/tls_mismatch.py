"""Does one side speak TLS and the other not, or want a certificate that the other does not have?

Neither says so: one hangs up, or both wait for the other.

Asked only when nothing came of a connection at the start, to say what is wrong in the place of that it failed.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from metronome_worker.broker.addresses import parse_url, redact
from metronome_worker.broker.outages import certificate_wanted
from metronome_worker.errors import OperatorError

if TYPE_CHECKING:
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
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                writer.write(b"PING\r\n")
                return (await reader.read(1)) in (b"+", b"-")
            finally:
                writer.close()
    return False


async def _speaks_tls(server: Endpoint) -> bool:
    with suppress(OSError):
        async with asyncio.timeout(_LIMIT_S):
            _, writer = await asyncio.open_connection(server.host, server.port, ssl=_trusting())
            writer.close()
            return True
    return False


async def _wants_certificate(server: Endpoint) -> bool:
    """Whoever does says so behind the handshake.  A client that has sent something by then may not hear it any more."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_connection(server.host, server.port, ssl=_trusting())
            try:
                await reader.read(1)
            finally:
                writer.close()
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return False


def _trusting() -> ssl.SSLContext:
    """Nothing is told to whoever answers: it need not be trusted."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
