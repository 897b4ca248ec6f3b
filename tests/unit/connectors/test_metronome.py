"""Intervals of a metronome: which are refused, which are doubted.  (What is no whole number: tests/unit/plan.)"""

from __future__ import annotations

import pytest

from metronome_worker.connectors.metronome import MetronomeConfig
from tests.unit.connectors.instances import settled

DAY = 86_400_000


def test_defaults_publish_all_missed_ticks_of_the_last_minute() -> None:
    assert settled("metronome", {"interval": 1000}) == (
        MetronomeConfig(interval=1000, missed="all", catch_up=60_000),
        (),
    )


@pytest.mark.parametrize(
    "config", [{"interval": 1}, {"interval": DAY}, {"interval": 5, "missed": "skip", "catch_up": 0}]
)
def test_sensible_config_is_taken(config: dict[str, object]) -> None:
    assert settled("metronome", config)[1] == ()


@pytest.mark.parametrize(
    ("config", "path", "said"),
    [
        ({}, (), '`config` needs "interval": a whole number of milliseconds, at least 1'),
        ({"interval": 0}, ("interval",), "a whole number of milliseconds, at least 1; found 0"),
        ({"interval": -1}, ("interval",), "found -1"),
        ({"interval": 1.5}, ("interval",), "found 1.5"),
        ({"interval": True}, ("interval",), "found the truth value true"),
        ({"interval": "1000"}, ("interval",), 'found the text "1000"'),
        ({"interval": 1, "catch_up": -1}, ("catch_up",), "a whole number of milliseconds, 0 or more; found -1"),
        ({"interval": 1, "missed": "none"}, ("missed",), '"all", "latest" or "skip"; found the text "none"'),
        ({"interval": 1, "intervall": 1}, ("intervall",), 'no setting "intervall"'),
    ],
)
def test_unfit_config_is_refused(config: dict[str, object], path: tuple[str, ...], said: str) -> None:
    decoded, [problem] = settled("metronome", config)
    assert decoded is None
    assert problem.path == path and not problem.is_warning
    assert said in problem.message


def test_interval_of_more_than_a_day_is_doubted_as_nanoseconds() -> None:
    _, [problem] = settled("metronome", {"interval": 1_000_000_000})
    assert problem.is_warning
    assert "11.6 days" in problem.message
    assert "0.13" in problem.hint and "write 1000" in problem.hint


@pytest.mark.parametrize("interval", [36_525 * DAY + 1, 2**53, 2**64 - 1])
def test_interval_of_more_than_a_hundred_years_is_refused(interval: int) -> None:
    _, [problem] = settled("metronome", {"interval": interval})
    assert not problem.is_warning
    assert str(interval) in problem.message
