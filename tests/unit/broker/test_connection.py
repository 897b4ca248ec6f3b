from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from metronome_worker.broker.connection import Patience, open_client
from metronome_worker.broker.outages import is_outage, translated
from metronome_worker.broker.wire import ANSWER_LIMIT_S, LONGEST_BLOCK_MS
from metronome_worker.errors import BrokerUnavailable
from tests.harness.virtual_clock import VirtualClock, run_virtual, virtual_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

URL = "redis://127.0.0.1:6379/0"


def test_longest_block_is_shorter_than_the_wait_for_an_answer() -> None:
    settings = open_client(URL).connection_pool.connection_kwargs
    assert settings["socket_timeout"] == ANSWER_LIMIT_S > LONGEST_BLOCK_MS / 1000
    assert settings["retry"]._retries == 0


async def test_connections_are_named_and_answer_in_bytes(valkey_url: str) -> None:
    async with open_client(valkey_url, name="metronome-7") as client:
        assert await client.client_getname() == "metronome-7"
        assert await client.echo("é") == "é".encode()


def test_lost_connection_is_unavailable_and_our_own_mistake_stays_what_it_is() -> None:
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:6379 .*gone"), translated(URL):
        raise RedisConnectionError("gone")
    with pytest.raises(ResponseError, match="WRONGTYPE"), translated(URL):
        raise ResponseError("WRONGTYPE")


class Ailing:
    """An operation that fails with each of ``errors`` in turn, then returns 7; records when it was tried."""

    def __init__(self, clock: VirtualClock, errors: Sequence[Exception]) -> None:
        self._clock, self._errors = clock, list(errors)
        self.tried_ms: list[int] = []

    async def __call__(self) -> int:
        self.tried_ms.append(self._clock.now_ns() // 1_000_000)
        if self._errors:
            raise self._errors.pop(0)
        return 7


def insist(*errors: Exception, seed: int = 1) -> tuple[int, list[int], list[Any]]:
    """The result, the times of the attempts in ms, the log."""

    async def main() -> tuple[int, list[int], list[Any]]:
        clock = VirtualClock(virtual_loop())
        operation = Ailing(clock, errors)
        with structlog.testing.capture_logs() as logged:
            result = await Patience(URL, clock, Random(seed), structlog.get_logger()).insist(operation)
        return result, operation.tried_ms, logged

    return run_virtual(main)


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("closed"),
        RedisTimeoutError("no answer"),
        ReadOnlyError("You can't write against a read only replica."),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
        ResponseError("MASTERDOWN Link with MASTER is down"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)"),
        ResponseError("CLUSTERDOWN The cluster is down"),
        ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"),
        ResponseError("ASK 7 127.0.0.1:7001"),
        ResponseError("MOVED 7 127.0.0.1:7001"),
        BrokerUnavailable("elsewhere"),
    ],
)
def test_what_passes_by_itself_is_tried_again(error: Exception) -> None:
    assert insist(error)[0] == 7


def test_waits_grow_up_to_two_seconds_and_differ_between_processes() -> None:
    _, tried_ms, _ = insist(*[RedisConnectionError("closed")] * 20)
    waits = [after - before for before, after in pairwise(tried_ms)]
    assert 10 <= waits[0] <= 20
    assert all(1000 <= wait <= 2000 for wait in waits[8:])
    assert insist(*[RedisConnectionError("closed")] * 20, seed=2)[1] != tried_ms


def test_outage_is_logged_when_it_begins_and_when_it_is_over() -> None:
    _, tried_ms, logged = insist(RedisConnectionError("closed"), RedisTimeoutError("no answer"))
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("redis_away", "warning"),
        ("redis_back", "info"),
    ]
    assert logged[0]["server"] == "127.0.0.1:6379"
    assert logged[1]["away_ms"] == tried_ms[-1]


@pytest.mark.parametrize("error", [ResponseError("WRONGTYPE …"), ValueError("ours"), RedisError("odd")])
def test_our_own_mistakes_are_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        insist(error)
    assert caught.value is error


def test_error_that_is_its_own_cause_is_looked_through_once() -> None:
    error = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    error.__cause__ = error
    assert not is_outage(error)
