"""TLS against a real server: with passwords and certificates of both sides, and what is said when they do not fit."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import pytest
import structlog

from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.server_check import check_server
from metronome_worker.clock import SystemClock
from metronome_worker.errors import OperatorError
from tests.harness.processes import METRONOME, RealProcess
from tests.harness.topology import HOST, Certificates, Server, free_ports, plain_server, until, why_no_certificates
from tests.system.flows import leaving, run

if TYPE_CHECKING:
    from collections.abc import Iterator


class TlsServer:
    """Speaks TLS only, asks for a certificate of the client, and has a user ann with the password s3cret."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.certificates = Certificates(folder / "certificates")
        certificate, key = self.certificates.issue("server", "DNS:localhost")
        self.client_certificate, self.client_key = self.certificates.issue("client", "DNS:client")
        #: Lines of a configuration file.
        self.files = [
            f"tls-cert-file {certificate}",
            f"tls-key-file {key}",
            f"tls-ca-cert-file {self.certificates.ca}",
        ]
        [self.port] = free_ports(1)
        self.server = Server(
            folder,
            *("--bind", HOST, "--port", "0", "--tls-port", str(self.port), "--save", ""),
            *[word for line in self.files for word in f"--{line}".split(" ", 1)],
            *("--user", "default", "off", "--user", "ann", "on", ">s3cret", "~*", "&*", "+@all"),
            port=self.port,
            binary=binary,
        )

    def url(self, *, login: str = "ann:s3cret", host: str = "localhost", **settings: object) -> str:
        files = {
            "ssl_ca_certs": self.certificates.ca,
            "ssl_certfile": self.client_certificate,
            "ssl_keyfile": self.client_key,
        }
        query = "&".join(f"{name}={value}" for name, value in (files | settings).items() if value is not None)
        return f"rediss://{login}@{host}:{self.port}/0?{query}"


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    if (reason := why_no_certificates()) is not None:
        pytest.skip(reason)
    tried = []
    for name in ("redis-server", "valkey-server"):
        if (found := shutil.which(name)) is None:
            tried.append(f"no {name} on PATH")
            continue
        server = TlsServer(tmp_path_factory.mktemp("tls"), Path(found))
        server.server.launch()
        try:
            until(lambda one=server.server: one.listens() or not one.is_running, "the server starts")
            if server.server.is_running:
                yield server
                return
            assert "TLS support" in server.server.log, server.server.log
            tried.append(f"{found} cannot do TLS")
        finally:
            server.server.kill()
    pytest.skip(f"no server that can do TLS: {'; '.join(tried)}; the wheel's is built without it")


async def refusal(url: str) -> OperatorError:
    """What the check at the start says, soon."""
    began = time.monotonic()
    async with open_client(url) as client:
        with pytest.raises(OperatorError) as caught:
            await check_server(client, url, clock=SystemClock())
    assert time.monotonic() - began < 10
    assert "s3cret" not in str(caught.value)
    assert caught.value.advice
    return caught.value


def test_flow_runs_over_tls_with_user_password_and_client_certificate(tmp_path: Path, tls_server: TlsServer) -> None:
    flow = leaving('{"exit": 7}')
    with run(tmp_path, flow, "--redis", tls_server.url()) as process:
        assert process.wait(20) == 7, process.stderr
    assert "s3cret" not in process.stderr


async def test_certificate_of_another_authority_is_not_trusted(tls_server: TlsServer, tmp_path: Path) -> None:
    error = await refusal(tls_server.url(ssl_ca_certs=Certificates(tmp_path, "other").ca))
    assert (error.what, error.value) == ("the certificate of Redis is not trusted at", f"localhost:{tls_server.port}")
    assert "certificate" in error.reason
    assert "ssl_ca_certs" in error.advice


async def test_authority_of_ones_own_must_be_named(tls_server: TlsServer) -> None:
    assert "not trusted" in (await refusal(tls_server.url(ssl_ca_certs=None))).what


async def test_certificate_must_be_for_the_host_in_the_url_unless_that_is_switched_off(
    tls_server: TlsServer, tmp_path: Path
) -> None:
    error = await refusal(tls_server.url(host=HOST))
    assert "not trusted" in error.what
    assert "ssl_check_hostname=no" in error.advice
    url = tls_server.url(host=HOST, ssl_check_hostname="no")
    async with open_client(url) as client:
        assert await check_server(client, url, clock=SystemClock()) == ()


async def test_missing_client_certificate_is_asked_for(tls_server: TlsServer) -> None:
    error = await refusal(tls_server.url(ssl_certfile=None, ssl_keyfile=None))
    assert error.what == "Redis breaks off TLS with us at"
    assert "ssl_certfile=FILE&ssl_keyfile=FILE" in error.advice


async def test_wrong_password_over_tls_is_a_wrong_password(tls_server: TlsServer) -> None:
    error = await refusal(tls_server.url(login="ann:wrong"))
    assert error.what == "Redis refuses the password in"
    assert error.advice.startswith("Put the right one into the URL: rediss://USER:PASSWORD@localhost")


async def test_plain_url_of_a_server_that_speaks_tls_is_told_to_ask_for_it(tls_server: TlsServer) -> None:
    error = await refusal(f"redis://ann:s3cret@localhost:{tls_server.port}/0")
    assert (error.what, error.value) == ("this Redis speaks TLS:", f"localhost:{tls_server.port}")
    assert f"rediss://ann:***@localhost:{tls_server.port}/0" in error.advice


async def test_tls_url_of_a_server_that_does_not_speak_it_is_told_so(tmp_path: Path) -> None:
    server = plain_server(tmp_path).start()
    try:
        error = await refusal(f"rediss://{server.endpoint}/0")
    finally:
        server.kill()
    assert (error.what, error.value) == ("this Redis does not speak TLS:", str(server.endpoint))
    assert f"redis://{server.endpoint}/0" in error.advice


@pytest.mark.parametrize("setting", ["ssl_ca_certs", "ssl_certfile"])
def test_file_that_is_not_there_or_holds_no_certificate_is_named(setting: str, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for file, reason in ((tmp_path / "missing.pem", "No such file"), (empty, "")):
        more = f"&ssl_keyfile={file}" if setting == "ssl_certfile" else ""
        with pytest.raises(OperatorError) as caught:
            open_client(f"rediss://host/0?{setting}={file}{more}")
        assert setting in caught.value.what
        assert caught.value.value == str(file)
        assert reason in caught.value.reason


@pytest.mark.skipif(why_no_certificates() is not None, reason=str(why_no_certificates()))
def test_encrypted_key_is_refused_and_no_password_asked_for(tmp_path: Path) -> None:
    certificate, key = Certificates(tmp_path / "certificates").issue("client", "DNS:client")
    locked = tmp_path / "locked.key"
    lock = ["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:word", "-out", locked]
    subprocess.run(lock, check=True, capture_output=True)
    with pytest.raises(OperatorError, match="must not be encrypted"):
        open_client(f"rediss://host/0?ssl_certfile={certificate}&ssl_keyfile={locked}")


def test_process_that_is_refused_ends_with_status_3_and_without_a_traceback(
    tmp_path: Path, tls_server: TlsServer
) -> None:
    command = [*METRONOME, "worker", "--redis", tls_server.url(ssl_ca_certs=None)]
    with RealProcess(command, tmp_path) as process:
        assert process.wait(10) == 3
    assert process.stderr.startswith("error: the certificate of Redis is not trusted at localhost")
    assert "Traceback" not in process.stderr


async def works(url: str) -> None:
    """All that the check at the start wants, and one write."""
    async with open_client(url) as client:
        assert await check_server(client, url, clock=SystemClock()) == ()
        assert await client.set("metronome:{main}:tls", b"1")


async def test_sentinels_and_their_primary_speak_tls(tls_server: TlsServer, tmp_path: Path) -> None:
    [port] = free_ports(1)
    sentinel = Server(tmp_path, "sentinel.conf", "--sentinel", port=port, binary=tls_server.server.binary)
    watch = "sentinel {} mymaster"
    lines = [f"bind {HOST}", "port 0", f"tls-port {port}", "tls-replication yes", *tls_server.files]
    lines += [f"{watch.format('monitor')} {HOST} {tls_server.port} 1", f"{watch.format('auth-user')} ann"]
    lines += [f"{watch.format('auth-pass')} s3cret", f"{watch.format('down-after-milliseconds')} 30000", ""]
    (sentinel.folder / "sentinel.conf").write_text("\n".join(lines))
    sentinel.launch()
    try:
        until(sentinel.listens, "the Sentinel starts")
        plain = tls_server.url(host=HOST, ssl_check_hostname="no")
        url = plain.replace("rediss:", "rediss+sentinel:").replace(f"{tls_server.port}/0", f"{port}/mymaster")
        await works(url)
        error = await refusal(url.replace(str(tls_server.certificates.ca), str(tls_server.client_certificate)))
        assert "not trusted" in error.what
        error = await refusal(url.replace("rediss+", "redis+").partition("?")[0])
        assert error.what == "this Redis speaks TLS:"
    finally:
        sentinel.kill()


async def test_cluster_speaks_tls(tls_server: TlsServer, tmp_path: Path) -> None:
    port, bus = free_ports(2)
    cluster = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--tls-cluster", "yes", "--save", "")
    files = [word for line in tls_server.files for word in f"--{line}".split(" ", 1)]
    options = ("--bind", HOST, "--port", "0", "--tls-port", str(port), *cluster, *files)
    node = Server(tmp_path, *options, port=port, binary=tls_server.server.binary).launch()
    try:
        until(node.listens, "the node starts")
        url = tls_server.url(login="", host=HOST, ssl_check_hostname="no").replace("//@", "//")
        async with open_client(url.replace(str(tls_server.port), str(port))) as client:
            await client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            patience = Patience(url, SystemClock(), Random(1), structlog.get_logger())
            await patience.insist(lambda: client.set("until", "the cluster is up"))
        await works(url.replace("rediss:", "rediss+cluster:").replace(f"{tls_server.port}/0", f"{port}"))
    finally:
        node.kill()
