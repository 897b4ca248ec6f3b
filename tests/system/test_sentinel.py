"""A primary that Sentinels watch: it dies, a replica is promoted, and a deployment of real processes goes on there."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog
from redis import Redis
from redis.exceptions import RedisError

from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.leases import Leases
from metronome_worker.broker.news import Feed, NewsDesk
from metronome_worker.broker.outages import is_outage
from metronome_worker.broker.server_check import check_server
from metronome_worker.clock import SystemClock
from metronome_worker.errors import OperatorError
from tests.harness.processes import METRONOME, RealProcess, wait_until
from tests.harness.topology import HOST, Watched, free_ports, plain_server
from tests.system.flows import IDS, assert_each_once, lines_in, said_by, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Detecting that the primary is down, agreeing on it, promoting the replica; on a busy machine.
FAILOVER_S = 20


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """That nobody takes for dead because the machine is busy."""
    with Watched(tmp_path / "servers", down_after_ms=30_000) as servers:
        yield servers


async def refusal(url: str) -> OperatorError:
    async with open_client(url) as client:
        with pytest.raises(OperatorError) as caught:
            await check_server(client, url, clock=SystemClock())
    assert "s3cret" not in str(caught.value)
    assert caught.value.advice
    return caught.value


def role(folder: Path, name: str, *arguments: str) -> RealProcess:
    (folder / name).mkdir()
    return RealProcess([*METRONOME, name, *arguments], folder / name)


@pytest.mark.alone
def test_flow_goes_on_on_the_promoted_replica(tmp_path: Path) -> None:
    flow = tmp_path / "flow.troy"
    flow.write_text(ticking(50))
    lines = tmp_path / "worker" / IDS
    with (
        Watched(tmp_path / "servers") as watched,
        role(tmp_path, "ticker", str(flow), "--redis", watched.url) as ticker,
        role(tmp_path, "worker", "--redis", watched.url) as worker,
    ):
        wait_until(lambda: len(lines_in(lines)) >= 20, 15, "20 lines before the failover")
        watched.primary.kill()
        before = len(lines_in(lines))
        # With those that were due while nobody could publish.
        wait_until(lambda: len(lines_in(lines)) >= before + 100, FAILOVER_S, "100 lines after the failover")
        assert watched.replica.call("ROLE")[0] == "master"
        status, said = said_by("verify", "main", "--redis", watched.url, folder=tmp_path / "worker")
        assert status == 0, said
        for process in (worker, ticker):
            process.terminate()
            assert process.wait(10) == 0, process.stderr
            assert process.stderr.count("redis_away") <= 3
            assert "Traceback" not in process.stderr
    assert_each_once(lines)


async def test_service_that_no_sentinel_knows_is_named(watched: Watched) -> None:
    error = await refusal(watched.url.replace(Watched.SERVICE, "misspelt"))
    assert error.what == "no Sentinel knows the service in the URL:"
    assert "misspelt" in error.reason
    assert "SENTINEL MASTERS" in error.advice


async def test_sentinels_that_are_not_there_are_named() -> None:
    first, second = free_ports(2)
    error = await refusal(f"redis+sentinel://:s3cret@{HOST}:{first},{HOST}:{second}/mymaster")
    assert error.what == "cannot reach Redis at"
    assert str(first) in error.reason
    assert str(second) in error.reason


async def test_primary_is_found_although_a_sentinel_is_away_and_has_its_own_login(watched: Watched) -> None:
    gone, other, _ = watched.sentinels
    gone.kill()
    other.call("ACL SETUSER", "watch", "on", ">right", "+@all")
    other.call("ACL SETUSER", "default", "off")
    watched.primary.call("CONFIG SET", "requirepass", "s3cret")
    one = f"redis+sentinel://:s3cret@{gone.endpoint},{other.endpoint}/{Watched.SERVICE}"
    login = "?sentinel_username=watch&sentinel_password="
    refused = await refusal(one + login + "wrong")
    assert refused.what == "cannot reach Redis at"
    refused = await refusal(f"redis+sentinel://:s3cret@{other.endpoint}/{Watched.SERVICE}")
    assert refused.what == "the Sentinels refuse us:"
    assert "sentinel_password" in refused.advice
    url = one + login + "right"
    async with open_client(url) as client:
        assert await check_server(client, url, clock=SystemClock()) == ()
        assert (await client.info())["tcp_port"] == watched.primary.port


async def test_sentinels_that_are_away_do_not_stop_what_works(watched: Watched) -> None:
    async with open_client(watched.url) as client:
        await client.ping()
        for sentinel in watched.sentinels:
            sentinel.kill()
        # Beyond the moment in which one of them is asked again.
        until_s = asyncio.get_running_loop().time() + 1.5
        while asyncio.get_running_loop().time() < until_s:
            assert (await client.info("server"))["tcp_port"] == watched.primary.port


async def test_url_of_a_sentinel_itself_is_told_how_to_say_so(watched: Watched) -> None:
    sentinel = watched.sentinels[0]
    error = await refusal(f"redis://{sentinel.endpoint}")
    assert f"redis+sentinel://{sentinel.endpoint}/SERVICE" in error.advice


async def test_sentinels_that_name_a_replica_are_not_believed_at_the_start(tmp_path: Path) -> None:
    primary = plain_server(tmp_path).start()
    with Watched(tmp_path / "servers", sentinels=1, down_after_ms=60_000) as watched:
        # Behind the Sentinel's back.
        watched.primary.call("REPLICAOF", HOST, primary.port)
        error = await refusal(watched.url)
    primary.kill()
    assert "read-only replica" in error.what
    assert "failover" in error.reason


@pytest.mark.parametrize(
    "command", [("CONFIG SET", "min-replicas-to-write", 1), ("REPLICAOF", HOST, 1)], ids=["NOREPLICAS", "READONLY"]
)
async def test_script_that_the_server_does_not_let_write_is_an_outage_and_writes_nothing(
    command: tuple[object, ...], tmp_path: Path
) -> None:
    server = plain_server(tmp_path).start()
    try:
        server.call(*command)
        async with open_client(f"redis://{server.endpoint}") as client:
            leases = Leases(client, FlowKeys("main"), SystemClock(), Random(1), ttl_ms=1_500)
            with pytest.raises(RedisError) as caught:
                await leases.acquire("ticker", "somebody")
            assert is_outage(caught.value)
            assert await client.dbsize() == 0
    finally:
        server.kill()


async def test_client_finds_the_new_primary_when_the_old_one_was_demoted(watched: Watched) -> None:
    async with open_client(watched.url) as client:
        await client.set("key", "before")
        with Redis(host=HOST, port=watched.sentinels[0].port) as sentinel:
            sentinel.execute_command("SENTINEL FAILOVER", Watched.SERVICE)
        patience = Patience(watched.url, SystemClock(), Random(1), structlog.get_logger())

        async def write() -> int:
            await client.set("key", "after")
            return int((await client.info())["tcp_port"])

        async with asyncio.timeout(FAILOVER_S):
            while await patience.insist(write) != watched.replica.port:
                pass
    assert watched.replica.call("GET", "key") == "after"


async def test_who_listens_to_the_old_primary_is_told_that_there_is_another_although_the_old_one_answers(
    watched: Watched,
) -> None:
    async with open_client(watched.url) as client:
        feed = Feed(NewsDesk(), client, FlowKeys("main"))
        listening = [asyncio.create_task(feed.run()), asyncio.ensure_future(client.blpop(["nothing"], timeout=4))]
        async with asyncio.timeout(FAILOVER_S):
            while not feed.heard:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        # As after a failover of which the old primary has not heard.
        watched.replica.call("REPLICAOF", "NO", "ONE")
        for sentinel in watched.sentinels:
            sentinel.call("SENTINEL REMOVE", Watched.SERVICE)
            sentinel.call("SENTINEL MONITOR", Watched.SERVICE, HOST, watched.replica.port, 2)
        async with asyncio.timeout(FAILOVER_S):
            while (await client.info("server"))["tcp_port"] != watched.replica.port:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        ended, _ = await asyncio.wait(listening, timeout=1.0)
        assert len(ended) == 2
        assert all(is_outage(task.exception() or AssertionError()) for task in ended)
        assert watched.primary.call("ROLE")[0] == "master"
        await client.set("key", "after")
    assert watched.replica.call("GET", "key") == "after"
