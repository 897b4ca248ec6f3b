"""Which errors of redis-py pass by themselves, and what the others mean to the operator."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metronome_worker.broker.addresses import Kind, parse_url, redact
from metronome_worker.errors import BrokerUnavailable, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What passes by itself: the server is away, starting, failing over, or refuses writes for the time being.  What was
#: asked may or may not have happened.  (A wrong password is a connection error to redis-py; see ``is_outage``.)
OUTAGES: Final = (RedisConnectionError, RedisTimeoutError, ReadOnlyError, OutOfMemoryError, BrokerUnavailable)
#: The same, for replies that redis-py has no exception for.  BUSY: somebody's script runs for seconds, and all others
#: are refused meanwhile.  The second line: a failover, or a slot that moves.
_OUTAGE_CODES: Final = (
    *("MISCONF", "LOADING", "READONLY", "OOM", "BUSY"),
    *("MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK"),
)
#: OpenSSL's numbers (``X509_V_ERR_…``) for certificates that break a rule, whoever signed them.
_STRICT_RULES: Final = range(79, 95)
_REFUSED: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class SentinelRefused(AuthenticationError):
    """The Sentinels themselves want a password, or another one."""


def is_outage(error: BaseException) -> bool:
    """Whether waiting and trying again is the right answer to ``error``."""
    if isinstance(error, _REFUSED) or tls_refusal(error) is not None:
        return False
    return isinstance(error, OUTAGES) or (
        isinstance(error, ResponseError) and str(error).split(" ", 1)[0] in _OUTAGE_CODES
    )


def tls_refusal(error: BaseException) -> ssl.SSLError | None:
    """The reason why one side does not take the other's certificate, if that is what is behind ``error``."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:  # an error can be made its own cause
        seen.add(id(link))
        if isinstance(link, ssl.SSLCertVerificationError):
            return link
        # An alert is what the other side sends when it breaks off.
        if isinstance(link, ssl.SSLError) and "ALERT" in (link.reason or ""):
            return link
        link = link.__cause__ or link.__context__
    return None


def translate(error: Exception, url: str) -> Exception:
    """``error`` in our words: OperatorError, BrokerUnavailable, or itself when it is a bug of ours."""
    if isinstance(error.__cause__, _REFUSED) and not isinstance(error, _REFUSED):
        error = error.__cause__  # redis-py wraps what happens while it connects to a Unix socket
    parsed = parse_url(url)
    where = parsed.where
    refusal = tls_refusal(error)
    if refusal is not None:
        return _tls_error(refusal, where)
    match error:
        case SentinelRefused():
            return OperatorError(
                "the Sentinels refuse us:",
                value=redact(url),
                reason=str(error),
                advice="Put their own login into the URL: …/SERVICE?sentinel_username=USER&sentinel_password=PASSWORD "
                "(the username may be left out).",
            )
        case AuthenticationError() | AuthorizationError():
            has_password = parsed.login.password is not None
            scheme = url.partition("://")[0]
            return OperatorError(
                "Redis refuses the password in" if has_password else "Redis asks for a password:",
                value=redact(url),
                reason=str(error),
                advice=f"Put the right one into the URL: {scheme}://USER:PASSWORD@"
                + ("HOST…" if len(parsed.endpoints) > 1 or parsed.service else f"{where}/0")
                + " (USER may be left out).",
            )
        case NoPermissionError():
            return OperatorError(
                f"the Redis user {parsed.login.username or 'default'} may not do what is needed at",
                value=where,
                reason=str(error),
                advice=f"Allow it: ACL SETUSER {parsed.login.username or 'default'} ~metronome:* &metronome:* "
                "+@read +@write +@stream +@scripting +@pubsub +@connection +info +time"
                + (" +cluster|slots" if parsed.kind is Kind.CLUSTER else ""),
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


def _tls_error(refusal: ssl.SSLError, where: str) -> OperatorError:
    if isinstance(refusal, ssl.SSLCertVerificationError):
        reason = refusal.verify_message or str(refusal)
        advice = "Name the authority that has signed it: …?ssl_ca_certs=FILE"
        if "ostname mismatch" in reason or "IP address mismatch" in reason:
            advice += (
                "\n  The certificate must be for the host in the URL; ssl_check_hostname=no takes one for another."
            )
        if getattr(refusal, "verify_code", 0) in _STRICT_RULES:
            advice = (
                "It, or its authority's, lacks what RFC 5280 asks for, and Python insists on since 3.13: make it anew."
                "\n  An authority needs basicConstraints=critical,CA:TRUE and keyUsage=critical,keyCertSign; "
                "`openssl verify -x509_strict -CAfile FILE CERTIFICATE` tells what is missing."
            )
        return OperatorError("the certificate of Redis is not trusted at", value=where, reason=reason, advice=advice)
    return certificate_wanted(where, refusal.reason or str(refusal))


def certificate_wanted(where: str, reason: str) -> OperatorError:
    """The server does not take us as we come."""
    return OperatorError(
        "Redis breaks off TLS with us at",
        value=where,
        reason=reason,
        advice="Most often it wants a certificate of ours: …?ssl_certfile=FILE&ssl_keyfile=FILE; "
        "its log says what it did not like.",
    )


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
