from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis

from metronome_worker.broker.addresses import Kind
from metronome_worker.broker.connection import open_client
from metronome_worker.broker.embedded import EmbeddedServer
from metronome_worker.broker.server_check import ServerWarning, check_server, judge
from metronome_worker.clock import SystemClock
from metronome_worker.errors import OperatorError
from tests.harness.stand_in import bulk, stand_in

if TYPE_CHECKING:
    from collections.abc import Iterator


async def check(url: str) -> tuple[ServerWarning, ...]:
    async with open_client(url) as client:
        return await check_server(client, url, clock=SystemClock())


async def refusal(url: str) -> OperatorError:
    with pytest.raises(OperatorError) as caught:
        await check(url)
    assert "secret" not in str(caught.value)
    assert caught.value.advice
    return caught.value


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """For tests that change how the server is configured."""
    server = EmbeddedServer()
    server.start()
    yield server
    server.stop()


def configure(server: EmbeddedServer, *command: str) -> None:
    with Redis.from_url(server.url) as client:
        client.execute_command(*command)


async def test_good_server_passes_without_a_word(valkey_url: str) -> None:
    assert await check(valkey_url) == ()


async def test_server_that_is_not_there_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as soon_free:
        port = soon_free.getsockname()[1]
    error = await refusal(f"redis://:secret@127.0.0.1:{port}/0")
    assert (error.what, error.value) == ("cannot reach Redis at", f"127.0.0.1:{port}")


async def test_host_that_does_not_exist_is_named() -> None:
    assert (await refusal("redis://no.such.host.invalid/0")).value == "no.such.host.invalid:6379"


async def test_missing_password_is_asked_for(own_server: EmbeddedServer) -> None:
    configure(own_server, "CONFIG", "SET", "requirepass", "right")
    assert (await refusal(own_server.url)).what == "Redis asks for a password:"


async def test_wrong_password_is_refused(own_server: EmbeddedServer) -> None:
    configure(own_server, "CONFIG", "SET", "requirepass", "right")
    error = await refusal(f"redis://:secret@127.0.0.1:{own_server.port}/0")
    assert error.what == "Redis refuses the password in"
    assert error.value == f"redis://:***@127.0.0.1:{own_server.port}/0"
    assert await check(f"redis://:right@127.0.0.1:{own_server.port}/0") == ()


@pytest.mark.parametrize("rules", [("+@all", "-@scripting", "~*"), ("+@all", "~other:*")])
async def test_user_who_may_not_do_what_is_needed_is_told_which_rules_to_set(
    rules: tuple[str, ...], own_server: EmbeddedServer
) -> None:
    configure(own_server, "ACL", "SETUSER", "ann", "on", ">secret", *rules)
    error = await refusal(f"redis://ann:secret@127.0.0.1:{own_server.port}/0")
    assert "the Redis user ann may not" in error.what
    assert "ACL SETUSER ann ~metronome:*" in error.advice


async def test_rules_that_the_advice_names_suffice(own_server: EmbeddedServer) -> None:
    configure(own_server, "ACL", "SETUSER", "ann", "on", ">secret")
    url = f"redis://ann:secret@127.0.0.1:{own_server.port}/0"
    _, _, rules = (await refusal(url)).advice.partition("ACL SETUSER ann ")
    configure(own_server, "ACL", "SETUSER", "ann", *rules.split())
    assert await check(url) == ()


async def test_server_that_does_not_tell_about_itself_is_a_warning(own_server: EmbeddedServer) -> None:
    configure(own_server, "ACL", "SETUSER", "ann", "on", ">secret", "+@all", "-info", "~*")
    (warning,) = await check(f"redis://ann:secret@127.0.0.1:{own_server.port}/0")
    assert "+info" in warning.advice


async def test_replica_is_refused_and_its_primary_named(own_server: EmbeddedServer, valkey_url: str) -> None:
    primary = valkey_url.removeprefix("redis://").removesuffix("/0")
    configure(own_server, "REPLICAOF", *primary.split(":"))
    error = await refusal(own_server.url)
    assert "read-only replica" in error.what
    assert primary in error.reason
    assert primary in error.advice


async def test_server_that_may_evict_keys_is_a_warning(own_server: EmbeddedServer) -> None:
    configure(own_server, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    (warning,) = await check(own_server.url)
    assert "allkeys-lru" in warning.value
    assert "CONFIG SET maxmemory-policy noeviction" in warning.advice


async def test_number_of_a_database_that_does_not_exist_is_refused(valkey_url: str) -> None:
    assert "DB index is out of range" in (await refusal(valkey_url.removesuffix("/0") + "/99")).reason


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"redis_version": "6.2.14", "role": "master"}, "too old: 6.2.14"),
        ({"redis_version": "7.0.15", "redis_mode": "sentinel"}, "Sentinel(.|\n)*redis\\+sentinel://host:6379/SERVICE"),
        ({"redis_version": "7.2.4", "server_mode": "sentinel"}, "Sentinel"),
        ({"redis_version": "7.0.15", "redis_mode": "cluster"}, "cluster(.|\n)*redis\\+cluster://host:6379"),
    ],
)
def test_server_that_cannot_serve_is_refused(info: dict[str, Any], words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        judge(info, Kind.SERVER, "host:6379")


@pytest.mark.parametrize("version", ["7.0.15", "7.2.4", "8.0.0", "10.1"])
def test_server_from_7_0_on_is_taken(version: str) -> None:
    assert judge({"redis_version": version, "role": "master"}, Kind.SERVER, "host:6379") == ()


async def test_server_that_is_still_loading_is_waited_for() -> None:
    pings = 0

    def answer(command: list[bytes]) -> bytes:
        nonlocal pings
        match command[0].upper():
            case b"PING":
                pings += 1
                return b"-LOADING Redis is loading the dataset in memory\r\n" if pings < 3 else b"+PONG\r\n"
            case b"INFO":
                return bulk("redis_version:7.0.15\r\nrole:master\r\n")
            case b"EVAL":
                return b":0\r\n"
            case _:
                return b"+OK\r\n"

    async with stand_in(answer) as url:
        assert await check(url) == ()
    assert pings >= 3


async def test_something_else_than_a_redis_is_refused() -> None:
    async with stand_in(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        assert "not a Redis" in (await refusal(url)).what
