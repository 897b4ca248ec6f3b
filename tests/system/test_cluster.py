"""A cluster of real servers: flows on every node, and what happens when a node dies or a slot moves."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Final

import pytest
from redis.crc import key_slot

from metronome_worker.broker.cluster import ClusterClient, flow_client
from metronome_worker.broker.connection import open_client
from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.server_check import check_server
from metronome_worker.broker.ticks import server_us
from metronome_worker.clock import SystemClock
from metronome_worker.errors import OperatorError
from tests.harness.processes import METRONOME, RealProcess, wait_until
from tests.harness.topology import Cluster, until
from tests.system.flows import assert_each_once, lines_in, said_by, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SOON_S: Final = 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "servers") as cluster:
        yield cluster


def slot_of(flow: str) -> int:
    return key_slot(FlowKeys(flow).flow.encode())


def names_by_node(cluster: Cluster) -> list[str]:
    """A flow for each node, by name."""
    return [next(name for n in count() if cluster.owner(slot_of(name := f"flow{n}")) is node) for node in cluster.nodes]


class Deployment:
    """One ticker and two workers, and a flow on each node; all files are in one folder."""

    def __init__(self, folder: Path, cluster: Cluster, interval_ms: int = 50) -> None:
        self.folder, self.url = folder / "out", cluster.url
        self.folder.mkdir()
        self.flows = names_by_node(cluster)
        self._stack = ExitStack()
        files = []
        for name in self.flows:
            file = folder / f"{name}.troy"
            file.write_text(ticking(interval_ms, path=f"{self.folder}/{name}.log", name=name))
            files.append(str(file))
        self.ticker = self._start(folder / "ticker", "ticker", *files)
        self.workers = [self._start(folder / f"worker{n}", "worker") for n in (1, 2)]

    def _start(self, folder: Path, *arguments: str) -> RealProcess:
        folder.mkdir()
        command = [*METRONOME, *arguments, "--redis", self.url]
        return self._stack.enter_context(RealProcess(command, folder))

    @property
    def processes(self) -> list[RealProcess]:
        return [self.ticker, *self.workers]

    def lines(self, flow: str) -> int:
        return len(lines_in(self.folder / f"{flow}.log"))

    def wait_for_more(self, flow: str, more: int = 20) -> None:
        wanted = self.lines(flow) + more
        wait_until(lambda: self.lines(flow) >= wanted, SOON_S, f"{more} more lines of {flow}:\n{self.ticker.stderr}")

    def say(self, *arguments: str) -> str:
        """What a short command says when all is well."""
        status, said = said_by(*arguments, "--redis", self.url, folder=self.folder)
        assert status == 0, said
        return said

    def logged(self, event: str) -> list[dict[str, object]]:
        lines = [line for process in self.processes for line in process.stderr.splitlines() if line.startswith("{")]
        return [entry for line in lines if (entry := json.loads(line))["event"] == event]

    def end(self, code: int = 0) -> None:
        """By the flows' own exit streams; every process leaves with the code, and each line is there once."""
        self.say("exit", "--code", str(code))
        for process in self.processes:
            assert process.wait(SOON_S) == code, process.stderr
            assert "Traceback" not in process.stderr
        for flow in self.flows:
            self.say("verify", flow)
            assert_each_once(self.folder / f"{flow}.log")

    def __enter__(self) -> Deployment:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


@pytest.mark.alone
def test_flows_of_all_nodes_run_and_leave_with_one_ticker_and_two_workers(tmp_path: Path, cluster: Cluster) -> None:
    with Deployment(tmp_path, cluster) as deployment:
        for flow in deployment.flows:
            deployment.wait_for_more(flow)
        for node in cluster.nodes:
            assert any(key.startswith("metronome:{") for key in node.call("KEYS", "*")), "each node holds a flow"
        stood = {flow["flow"]: flow for flow in json.loads(deployment.say("status", "--json"))}
        assert sorted(stood) == sorted(deployment.flows)
        assert all(flow["status"] == "running" and flow["leader"] for flow in stood.values())
        assert deployment.say("health", "--role", "worker").startswith("healthy")
        for flow in deployment.flows:
            assert flow in deployment.say("graph", flow)
            deployment.say("verify", flow)
            assert json.loads(deployment.say("dead", "list", flow, "--json")) == []
        deployment.say("pause", deployment.flows[0])
        deployment.say("resume", deployment.flows[0])
        deployment.end(code=7)
        assert "session_restarts" not in deployment.ticker.stderr
        deployment.say("undeploy", deployment.flows[0])
        assert [flow["flow"] for flow in json.loads(deployment.say("flows", "--json"))] == sorted(deployment.flows[1:])


@pytest.mark.alone
def test_node_that_dies_and_comes_back_stops_its_own_flow_only(tmp_path: Path, cluster: Cluster) -> None:
    for node in cluster.nodes:
        # Else the others refuse to serve their own slots.
        node.call("CONFIG SET", "cluster-require-full-coverage", "no")
    # The one that holds the index is spared: it is looked into twice a second.
    index = cluster.owner(key_slot(b"metronome:flows"))
    with Deployment(tmp_path, cluster) as deployment:
        for flow in deployment.flows:
            deployment.wait_for_more(flow)
        at = next(at for at, node in enumerate(cluster.nodes) if node is not index)
        dying, theirs = cluster.nodes[at], deployment.flows[at]
        others = [flow for flow in deployment.flows if flow != theirs]
        dying.kill()
        for flow in others:
            deployment.wait_for_more(flow, 40)
        assert deployment.say("health", "--role", "worker").startswith("healthy")
        dying.start()
        deployment.wait_for_more(theirs)
        assert {line["flow"] for line in deployment.logged("session_restarts")} == {theirs}
        deployment.end()


@pytest.mark.alone
def test_flow_follows_its_slot_to_another_node(tmp_path: Path, cluster: Cluster) -> None:
    with Deployment(tmp_path, cluster) as deployment:
        moving, target = deployment.flows[0], cluster.nodes[1]
        deployment.wait_for_more(moving)
        cluster.move_slot(slot_of(moving), cluster.nodes[0], target)
        deployment.wait_for_more(moving)
        assert target.call("EXISTS", FlowKeys(moving).flow) == 1
        deployment.end()


@pytest.mark.alone
def test_flow_goes_on_on_the_replica_that_takes_over(tmp_path: Path, cluster: Cluster) -> None:
    dying = cluster.nodes[1]
    replica = cluster.add_replica(dying, tmp_path / "replica")
    with Deployment(tmp_path, cluster) as deployment:
        for flow in deployment.flows:
            deployment.wait_for_more(flow)
        dying.kill()
        deployment.wait_for_more(deployment.flows[1], 60)
        assert replica.call("ROLE")[0] == "master"
        deployment.end()


async def refusal(url: str) -> OperatorError:
    async with open_client(url) as client:
        with pytest.raises(OperatorError) as caught:
            await check_server(client, url, clock=SystemClock())
    assert caught.value.advice
    return caught.value


async def test_each_node_is_looked_at_and_plain_urls_are_told_better(cluster: Cluster, valkey_url: str) -> None:
    url = cluster.url
    async with open_client(url) as client:
        assert await check_server(client, url, clock=SystemClock()) == ()
        cluster.nodes[2].call("CONFIG SET", "maxmemory-policy", "allkeys-lru")
        [warning] = await check_server(client, url, clock=SystemClock())
        assert warning.value == f"maxmemory-policy allkeys-lru at {cluster.nodes[2].endpoint}"
    error = await refusal(f"redis://{cluster.nodes[0].endpoint}/0")
    assert error.what == "this Redis is a node of a cluster:"
    assert f"redis+cluster://{cluster.nodes[0].endpoint}" in error.advice
    server = valkey_url.removeprefix("redis://").removesuffix("/0")
    error = await refusal(f"redis+cluster://{server}")
    assert error.what == "this Redis is not a cluster:"
    assert f"redis://{server}/0" in error.advice
    error = await refusal("redis+cluster://127.0.0.1:1")
    assert (error.what, error.value) == ("cannot reach Redis at", "127.0.0.1:1")


async def test_cluster_with_slots_that_nobody_owns_is_told_so(cluster: Cluster) -> None:
    index = cluster.owner(key_slot(b"metronome:flows"))
    # One of its own: the others could tell it of theirs.
    index.call("CLUSTER DELSLOTS", next(slot for slot in range(Cluster.SLOTS) if cluster.owner(slot) is index))
    until(lambda: index.call("CLUSTER INFO")["cluster_state"] == "fail", "the node sees that")
    error = await refusal(cluster.url)
    assert error.what == "the cluster does not serve:"
    assert "CLUSTERDOWN" in error.reason
    assert f"--cluster check {cluster.nodes[0].endpoint}" in error.advice


async def test_client_of_a_flow_asks_the_node_that_holds_it(cluster: Cluster) -> None:
    async with open_client(cluster.url) as client:
        assert isinstance(client, ClusterClient)
        for node, flow in zip(cluster.nodes, names_by_node(cluster), strict=True):
            keys = FlowKeys(flow)
            own = flow_client(client, keys)
            assert (await own.info())["tcp_port"] == node.port
            assert abs(await server_us(own) - node.call("TIME")[0] * 1_000_000) < 10_000_000
            async with own.pipeline(transaction=True) as pipe:
                pipe.set(keys.epoch, 1)
                pipe.get(keys.epoch)
                assert await pipe.execute() == [True, b"1"]
            assert await client.get(keys.epoch) == b"1"
            await client.xadd(keys.exit, {"exit": 0})
            [[_, entries]] = await client.xread({keys.exit: "0"}, count=1)
            assert len(entries) == 1
            assert await client.eval("return redis.call('GET', KEYS[1])", 1, keys.epoch) == b"1"


async def test_announcement_on_any_node_is_heard(cluster: Cluster) -> None:
    async with open_client(cluster.url) as client:
        keys = FlowKeys(names_by_node(cluster)[0])
        subscription = flow_client(client, keys).pubsub(ignore_subscribe_messages=True)
        await subscription.subscribe(keys.news)
        assert await subscription.get_message(timeout=0.2) is None
        cluster.nodes[2].call("PUBLISH", keys.news, "deployed")
        message = await subscription.get_message(timeout=5)
        assert message is not None
        assert message["data"] == b"deployed"
        await subscription.aclose()


@pytest.mark.parametrize("command", [("TIME",), ("INFO",), ("PUBLISH", "a", "b"), ("EVAL", "return 1", 0)])
async def test_what_has_no_key_has_no_server_and_is_a_bug(command: tuple[object, ...]) -> None:
    async with open_client("redis+cluster://127.0.0.1:1") as client:
        with pytest.raises(TypeError, match=r"flow_client\(\)"):
            await client.execute_command(*command)
        with pytest.raises(TypeError, match=r"flow_client\(\)"):
            client.pipeline()
