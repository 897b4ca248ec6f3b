"""Tasks that end together."""

from __future__ import annotations

import asyncio

import pytest

from metronome_worker.tasks import until_first_done


async def _fails_when(told: asyncio.Event) -> None:
    await told.wait()
    raise ConnectionError


async def test_others_are_cancelled_and_waited_for_when_the_first_is_done() -> None:
    ended = []

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("other")

    first, second = await until_first_done(asyncio.sleep(0, "done"), other())
    assert first.result() == "done"
    assert second.cancelled()
    assert ended == ["other"]


async def test_failure_is_raised_in_a_group() -> None:
    told = asyncio.Event()
    told.set()
    with pytest.raises(BaseExceptionGroup) as raised:
        await until_first_done(_fails_when(told), asyncio.Event().wait())
    assert [type(error) for error in raised.value.exceptions] == [ConnectionError]


async def test_cancellation_is_not_lost_when_a_task_fails_in_the_same_moment() -> None:
    told = asyncio.Event()
    both = asyncio.create_task(until_first_done(_fails_when(told), asyncio.Event().wait()))
    await asyncio.sleep(0.01)
    told.set()
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both


async def test_second_cancellation_still_waits_for_what_tidies_up() -> None:
    tidy = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    tidy.append("cancelled again")
            tidy.append("tidied up")

    both = asyncio.create_task(until_first_done(stubborn()))
    await asyncio.sleep(0.01)
    both.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    both.cancel()
    with pytest.raises(asyncio.CancelledError):
        await both
    assert tidy == ["cancelled again", "tidied up"]
