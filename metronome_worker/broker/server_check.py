"""Is the server that we were pointed at one that we can work with?  Asked once, when a process starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from redis.exceptions import BusyLoadingError, NoPermissionError, RedisError, ResponseError

from metronome_worker.broker.addresses import Kind, address, parse_url, redact
from metronome_worker.broker.cluster import ClusterClient
from metronome_worker.broker.keys import DEFAULT_NAMESPACE, flow_index
from metronome_worker.broker.outages import reason_of, translate
from metronome_worker.broker.sentinel import UnknownService
from metronome_worker.broker.tls_mismatch import tls_mismatch
from metronome_worker.errors import BrokerUnavailable, OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from metronome_worker.broker.addresses import RedisUrl
    from metronome_worker.clock import Clock

#: ``XGROUP SETID … ENTRIESREAD`` came with 7.0.  Valkey reports the Redis version that it is compatible with.
OLDEST_VERSION: Final = (7, 0)
_LOADING_WAIT_S: Final = 0.1

#: Fails with NOPERM where scripts, or the keys of the namespace, are not allowed.
_PROBE: Final = "return redis.call('EXISTS', KEYS[1])"


class ServerWarning(Struct, frozen=True, kw_only=True):
    """Something about the server that is not as it should be, but can be worked with."""

    what: str
    value: str
    reason: str
    advice: str


async def check_server(
    client: Redis, url: str, *, clock: Clock, namespace: str = DEFAULT_NAMESPACE
) -> tuple[ServerWarning, ...]:
    """What the operator should know about the server, or each node of a cluster.  Waits while it loads its data.

    Raises OperatorError when it cannot be used: not reachable, password wrong or missing, certificate not trusted, not
    allowed, a replica, not what the URL says it is, too old.
    """
    parsed = parse_url(url)
    warnings: list[ServerWarning] = []
    try:
        for where, server in await _servers(client, parsed):
            await _wait_until_loaded(server, clock)
            warnings += await _judge_info(server, parsed.kind, where)
        await client.eval(_PROBE, 1, flow_index(namespace))  # type: ignore[misc]
    except RedisError as error:
        refusal = await _refusal(error, url)
        raise refusal from (None if refusal is error else error)
    return tuple(warnings)


async def _servers(client: Redis, url: RedisUrl) -> list[tuple[str, Redis]]:
    if not isinstance(client, ClusterClient):
        return [(url.where, client)]
    try:
        return [(str(node), server) for node, server in await client.primaries()]
    except ResponseError as error:
        if "cluster support disabled" not in str(error):
            raise
        raise OperatorError(
            "this Redis is not a cluster:",
            value=url.where,
            reason=reason_of(error),
            advice=f"Name it alone: --redis redis://{url.endpoints[0]}/0",
        ) from error


async def _wait_until_loaded(client: Redis, clock: Clock) -> None:
    while True:
        try:
            await client.ping()
        except BusyLoadingError:
            await clock.sleep(_LOADING_WAIT_S)
        else:
            return


async def _judge_info(client: Redis, kind: Kind, where: str) -> tuple[ServerWarning, ...]:
    try:
        info = await client.info()
    except NoPermissionError as error:
        unknown = ServerWarning(
            what="could not find out the server's version, role and eviction policy:",
            value=where,
            reason=reason_of(error),
            advice="Allow INFO to see them checked: ACL SETUSER … +info",
        )
        return (unknown,)
    return judge(info, kind, where)


def judge(info: Mapping[str, Any], kind: Kind, where: str) -> tuple[ServerWarning, ...]:
    """Warnings about a server that says ``info`` of itself.  Raises OperatorError when it cannot be used.  Pure.

    ``kind``: what the URL says that it is.
    """
    mode = info.get("redis_mode", info.get("server_mode"))  # the second is Valkey's word
    if mode == "sentinel":
        raise OperatorError(
            "this is a Sentinel, not the server itself:",
            value=where,
            advice=f"Say so, and which service it watches: --redis redis+sentinel://{where}/SERVICE",
        )
    if mode == "cluster" and kind is not Kind.CLUSTER:
        raise OperatorError(
            "this Redis is a node of a cluster:",
            value=where,
            advice=f"Say so: --redis redis+cluster://{where}",
        )
    if info.get("role") in ("slave", "replica"):
        if kind is Kind.SENTINEL:
            raise OperatorError(
                "the Sentinels name a server that is a read-only replica:",
                value=where,
                reason="a failover is under way, or they are set up wrongly",
                advice="Start again in a moment.",
            )
        primary = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        raise OperatorError(
            "this Redis is a read-only replica:",
            value=where,
            reason=f"its primary is {primary}",
            advice=f"Name the primary: --redis redis://{primary}/0",
        )
    version = str(info.get("redis_version", "0"))
    if _parse_version(version) < OLDEST_VERSION:
        raise OperatorError(
            "this Redis is too old:",
            value=f"{version} at {where}",
            reason="streams with entry counts need 7.0",
            advice="Use Redis 7.0 or later, or Valkey; or leave out --redis: `metronome run` has a server of its own.",
        )
    return _judge_eviction(str(info.get("maxmemory_policy", "noeviction")), where)


def _judge_eviction(policy: str, where: str) -> tuple[ServerWarning, ...]:
    if policy == "noeviction":
        return ()
    warning = ServerWarning(
        what="this Redis may drop keys when its memory is full:",
        value=f"maxmemory-policy {policy} at {where}",
        reason="an evicted key loses ticks, positions or state without a trace",
        advice="CONFIG SET maxmemory-policy noeviction, and the same in its configuration file",
    )
    return (warning,)


def _parse_version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdecimal())


async def _refusal(error: RedisError, url: str) -> Exception:
    """At the start nothing is waited for: what would be an outage later is the operator's to look at now."""
    translation = translate(error, url)
    if isinstance(translation, BrokerUnavailable):
        if isinstance(error, UnknownService):
            return OperatorError(
                "no Sentinel knows the service in the URL:",
                value=redact(url),
                reason=reason_of(error),
                advice="`redis-cli -p 26379 SENTINEL MASTERS` lists the names that it knows.",
            )
        if isinstance(error, ResponseError) and str(error).startswith("CLUSTERDOWN"):
            return OperatorError(
                "the cluster does not serve:",
                value=address(url),
                reason=reason_of(error),
                advice=f"`redis-cli --cluster check {parse_url(url).endpoints[0]}` says which slots nobody owns.",
            )
        mismatch = await tls_mismatch(url)
        if mismatch is not None:
            return mismatch
        return OperatorError(
            "cannot reach Redis at",
            value=address(url),
            reason=reason_of(error),
            advice=f"Start it there, correct the URL ({redact(url)}), "
            "or leave out --redis: `metronome run` has a server of its own.",
        )
    if isinstance(translation, ResponseError):
        return OperatorError(
            "Redis refuses to work for us at",
            value=address(url),
            reason=reason_of(error),
            advice=f"Check the number of the database in the URL ({redact(url)}) and the server's log.",
        )
    return translation
