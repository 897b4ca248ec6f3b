"""Servers as operators set them up, as real processes on the loopback interface: replicas, Sentinels, clusters, TLS."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Self

from redis import Redis
from redis.exceptions import RedisError

from metronome_worker.broker.addresses import Endpoint
from metronome_worker.broker.embedded import find_binary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST: Final = "127.0.0.1"
_START_LIMIT_S: Final = 20.0
_POLL_S: Final = 0.02


def free_ports(count: int) -> list[int]:
    """Ports that nobody has at this moment, each with the one that is 10000 above it out of the game."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def until(is_so: Callable[[], bool], what: str, limit_s: float = _START_LIMIT_S) -> None:
    """Poll until ``is_so()`` is true; a server that does not answer yet counts as no."""
    deadline = time.monotonic() + limit_s
    while True:
        with suppress(RedisError):
            if is_so():
                return
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(_POLL_S)


class Server:
    """One server process with its files in ``folder``.  ``options``: as on its command line."""

    def __init__(self, folder: Path, *options: str, port: int | None = None, binary: Path | None = None) -> None:
        self.port = port if port is not None else free_ports(1)[0]
        self.endpoint = Endpoint(HOST, self.port)
        self.folder = folder / f"server-{self.port}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.binary = binary or find_binary()
        self._command = [str(self.binary), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text("utf-8", "replace")

    def launch(self) -> Self:
        with (self.folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=self.folder, stdout=log, stderr=log)
        return self

    def start(self) -> Self:
        """And wait until it takes connections."""
        self.launch()
        until(self.answers, f"{self.endpoint} starts:\n{self.log}")
        return self

    def answers(self) -> bool:
        assert self.is_running, self.log
        return bool(self.call("PING"))

    def call(self, *command: Any) -> Any:
        with Redis(host=HOST, port=self.port, decode_responses=True, socket_timeout=2) as client:
            return client.execute_command(*command)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def listens(self) -> bool:
        with suppress(OSError), socket.create_connection(self.endpoint, timeout=1):
            return True
        return False

    def kill(self) -> None:
        """SIGKILL, and wait for that."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def plain_server(folder: Path, *options: str, binary: Path | None = None) -> Server:
    """A server without persistence; ``options`` are added."""
    [port] = free_ports(1)
    # A replica gets what it missed at once: nobody waits for a second one.
    common = ("--bind", HOST, "--port", str(port), "--save", "", "--repl-diskless-sync-delay", "0")
    return Server(folder, *common, *options, port=port, binary=binary)


class Watched:
    """A primary, a replica, and Sentinels that watch them as ``SERVICE``."""

    SERVICE: Final = "mymaster"

    def __init__(self, folder: Path, sentinels: int = 3, down_after_ms: int = 500) -> None:
        self._folder, self._down_after_ms = folder, down_after_ms
        self.primary = plain_server(folder)
        # What the replica missed is sent at once, and it need not wait for others.
        self.replica = plain_server(folder, "--replicaof", f"{HOST} {self.primary.port}")
        self.sentinels = [self._sentinel(sentinels) for _ in range(sentinels)]

    def _sentinel(self, count: int) -> Server:
        [port] = free_ports(1)
        server = Server(self._folder, "sentinel.conf", "--sentinel", port=port)
        watch = f"sentinel {{}} {self.SERVICE}"
        (server.folder / "sentinel.conf").write_text(
            "\n".join(
                [
                    f"bind {HOST}",
                    f"port {port}",
                    f"{watch.format('monitor')} {HOST} {self.primary.port} {count // 2 + 1}",
                    f"{watch.format('down-after-milliseconds')} {self._down_after_ms}",
                    f"{watch.format('failover-timeout')} 3000",
                    "",
                ]
            )
        )
        return server

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(str(s.endpoint) for s in self.sentinels)}/{self.SERVICE}"

    def wait_until_ready(self) -> None:
        """The replica is in step, and each Sentinel knows it and the other Sentinels."""
        until(lambda: self.replica.call("INFO").get("master_link_status") == "up", "the replica is in step")

        def knows(sentinel: Server) -> bool:
            reply = sentinel.call("SENTINEL", "MASTER", self.SERVICE)
            fields = dict(zip(reply[::2], reply[1::2], strict=True))
            return (fields["num-slaves"], fields["num-other-sentinels"]) == ("1", str(len(self.sentinels) - 1))

        for sentinel in self.sentinels:
            until(lambda sentinel=sentinel: knows(sentinel), "the Sentinels know each other")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.__exit__)
            self.primary.start()
            for server in (self.replica, *self.sentinels):
                server.start()
            self.wait_until_ready()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for server in (*self.sentinels, self.replica, self.primary):
            server.kill()


class Cluster:
    """Primaries that share the slots evenly."""

    SLOTS: Final = 16_384

    def __init__(self, folder: Path, nodes: int = 3) -> None:
        self.nodes = [self._node(folder) for _ in range(nodes)]
        self._replicas: list[Server] = []

    @staticmethod
    def _node(folder: Path) -> Server:
        port, bus = free_ports(2)
        common = ("--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "yes", "--appendfsync", "always")
        cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-node-timeout", "1000")
        server = Server(folder, *common, *cluster, port=port)
        server.bus = bus  # type: ignore[attr-defined]
        return server

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.nodes[0].endpoint},{self.nodes[1].endpoint}"

    def owner(self, slot: int) -> Server:
        """Before any slot has moved."""
        return next(node for at, node in enumerate(self.nodes) if slot < self.SLOTS * (at + 1) // len(self.nodes))

    def move_slot(self, slot: int, source: Server, target: Server) -> None:
        """One key after the other, as a tool for that does, with the slot open meanwhile."""
        source_id, target_id = source.call("CLUSTER MYID"), target.call("CLUSTER MYID")
        target.call("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
        source.call("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.call("CLUSTER GETKEYSINSLOT", slot, 1):
            source.call("MIGRATE", HOST, target.port, keys[0], 0, 5000)
        for node in (target, source, *self.nodes):
            node.call("CLUSTER SETSLOT", slot, "NODE", target_id)

    def _set_up(self) -> None:
        share = [self.SLOTS * at // len(self.nodes) for at in range(len(self.nodes) + 1)]
        for at, node in enumerate(self.nodes):
            node.call("CLUSTER ADDSLOTSRANGE", share[at], share[at + 1] - 1)
            node.call("CLUSTER SET-CONFIG-EPOCH", at + 1)
        for other in self.nodes[1:]:
            self.nodes[0].call("CLUSTER MEET", HOST, other.port, other.bus)  # type: ignore[attr-defined]
        for node in self.nodes:
            until(lambda node=node: self.is_whole(node), "the cluster is whole")

    def add_replica(self, primary: Server, folder: Path) -> Server:
        """A replica of a node, in step with it, and known to all."""
        replica = self._node(folder).launch()
        self._replicas.append(replica)
        until(replica.answers, "the replica starts")
        replica.call("CLUSTER MEET", HOST, primary.port, primary.bus)  # type: ignore[attr-defined]
        name = primary.call("CLUSTER MYID")
        until(lambda: name in str(replica.call("CLUSTER NODES")), "the replica knows its primary")
        replica.call("CLUSTER REPLICATE", name)
        until(lambda: replica.call("INFO").get("master_link_status") == "up", "the replica is in step")
        for node in self.nodes:
            until(lambda node=node: replica.call("CLUSTER MYID") in str(node.call("CLUSTER NODES")), "all know it")
        return replica

    def is_whole(self, node: Server) -> bool:
        """Whether ``node`` says that all slots are served, by nodes that it knows."""
        found = node.call("CLUSTER INFO")
        return (found["cluster_state"], int(found["cluster_known_nodes"])) == ("ok", len(self.nodes))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(self.__exit__)
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                until(node.answers, "a node starts")
            self._set_up()
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for node in (*self.nodes, *self._replicas):
            node.kill()


class Certificates:
    """An authority of its own, and what it has signed, made by the ``openssl`` command."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        #: Nothing of what the machine's own file adds, as it adds it.
        self._settings = folder / f"{name}.cnf"
        self._settings.write_text("[req]\ndistinguished_name = name\n[name]\n")
        self.ca = folder / f"{name}.pem"
        # What RFC 5280 wants of an authority, on which Python insists since 3.13.
        self._make(name, basicConstraints="critical,CA:TRUE", keyUsage="critical,keyCertSign")

    def issue(self, name: str, *names: str) -> tuple[Path, Path]:
        """A certificate for ``names`` (as in ``IP:127.0.0.1``), and its key."""
        signer = ("-CA", str(self.ca), "-CAkey", str(self.ca.with_suffix(".key")))
        return self._make(name, *signer, authorityKeyIdentifier="keyid", subjectAltName=",".join(names))

    def _make(self, name: str, *options: str, **extensions: str) -> tuple[Path, Path]:
        certificate, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        command = ["openssl", "req", "-x509", "-config", self._settings, *curve, "-subj", f"/CN={name}", *options]
        for extension, value in {"subjectKeyIdentifier": "hash", **extensions}.items():
            command += ["-addext", f"{extension}={value}"]
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        return certificate, key


def why_no_certificates() -> str | None:
    return None if shutil.which("openssl") else "there is no openssl command to make certificates with"
