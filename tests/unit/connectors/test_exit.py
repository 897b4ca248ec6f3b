"""What an event asks of `exit`; nothing that an event may hold makes it fail."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from metronome_worker.connectors.exit import ExitConfig, read_request
from metronome_worker.connectors.registry import make_writer
from metronome_worker.plan.model import Value
from tests.unit.connectors.instances import environment, instance, outputs, settled


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"exit": 0}, 0),
        ({"exit": 3}, 3),
        ({"exit": 255}, 255),
        ({"exit": 2.0}, 2),
        ({"exit": None}, 0),
        ({}, 0),
        ("exit", 0),
        ("Beep!", 0),
        (None, 0),
        (7, 0),
        ([{"exit": 7}], 0),
    ],
)
def test_status_is_what_the_event_says_and_0_where_it_says_nothing(event: Value, status: int) -> None:
    request = read_request(event, ExitConfig())
    assert (request.status, request.faults) == (status, {})


@pytest.mark.parametrize("value", [256, -1, 2**64, 1.5, float("nan"), float("inf"), "0", "failed", True, False, [], {}])
def test_status_that_is_none_never_becomes_success(value: Value) -> None:
    request = read_request({"exit": value}, ExitConfig())
    assert request.status == 1
    assert "exit" in request.faults


def test_delay_and_graceful_of_the_event_win_over_the_settings() -> None:
    config = ExitConfig(delay=100, graceful=False)
    plain = read_request({"exit": 0}, config)
    own = read_request({"exit": 0, "delay": 0, "graceful": True}, config)
    assert (plain.delay_ms, plain.is_graceful) == (100, False)
    assert (own.delay_ms, own.is_graceful) == (0, True)


@pytest.mark.parametrize(
    "event", [{"delay": -1}, {"delay": "5"}, {"delay": 0.5}, {"graceful": "false"}, {"graceful": 0}]
)
def test_unusable_delay_or_graceful_leaves_the_settings_in_force(event: dict[str, Value]) -> None:
    request = read_request(event, ExitConfig(delay=100, graceful=True))
    assert (request.status, request.delay_ms, request.is_graceful) == (0, 100, True)
    assert request.faults == event


def test_every_event_becomes_an_entry_of_the_exit_stream_within_the_commit(tmp_path: Path) -> None:
    writer = make_writer(instance("exit", {"delay": 100}), environment(tmp_path))

    async def write() -> None:
        assert await writer.open(None) is None
        written = await writer.write(outputs({"exit": 4}, {"exit": 0, "delay": 7, "graceful": False}))
        assert written.state is None
        assert [(command.name, command.key, command.args) for command in written.commands] == [
            ("XADD", "metronome:{main}:exit",
             ("*", "exit", 4, "delay", 100, "graceful", "true", "by", "/connector/it", "cause", "1-0")),
            ("XADD", "metronome:{main}:exit",
             ("*", "exit", 0, "delay", 7, "graceful", "false", "by", "/connector/it", "cause", "2-0")),
        ]  # fmt: skip
        await writer.close()

    asyncio.run(write())


def test_unusable_status_is_logged_with_its_value(tmp_path: Path) -> None:
    writer = make_writer(instance("exit"), environment(tmp_path))
    with capture_logs() as logs:
        asyncio.run(writer.write(outputs({"exit": "failed"})))
    assert [(log["event"], log["fields"], log["exit"]) for log in logs] == [
        ("exit_fields_unusable", {"exit": "failed"}, 1)
    ]


@pytest.mark.parametrize("config", [{"delay": -1}, {"delay": "1"}, {"graceful": "yes"}, {"dealy": 1}])
def test_unfit_config_is_refused(config: dict[str, Value]) -> None:
    decoded, problems = settled("exit", config)
    assert decoded is None and len(problems) == 1
