"""What can be known of the server's clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metronome_worker.broker.server_time import ServerTime

MS = 1_000_000


def test_the_shortest_round_trip_is_believed() -> None:
    time = ServerTime()
    time.observe(0, 100 * MS, 1_050_000 + 40_000)  # wide: the offset is somewhere within 100 ms
    time.observe(200 * MS, 201 * MS, 1_200_500)  # narrow: 1000 ms, give or take half a millisecond
    assert time.now_ms(300 * MS) == 1_300


def test_a_short_round_trip_of_long_ago_is_not_believed_for_ever() -> None:
    time = ServerTime()
    hour_ns, ahead_ns = 3_600_000 * MS, 72 * MS  # 20 ppm
    time.observe(0, 0, 0)
    time.observe(hour_ns, hour_ns + MS, (hour_ns + MS // 2 + ahead_ns) // 1_000)
    assert time.now_ms(hour_ns + MS // 2) == 3_600_072


def test_a_short_round_trip_of_just_now_is_believed_more_than_a_long_one() -> None:
    time = ServerTime()
    time.observe(0, 0, 0)
    time.observe(1_000 * MS, 1_001 * MS, 1_001_000)  # half a millisecond off, if both ways took as long
    assert time.local_ns(5_000) == 5_000 * MS


def test_a_server_whose_clock_was_set_is_followed_at_once() -> None:
    time = ServerTime()
    time.observe(0, MS, 1_000_500)
    time.observe(10 * MS, 11 * MS, 3_601_010_500)
    assert time.now_ms(10 * MS) == 3_601_010
    time.observe(20 * MS, 40 * MS, 1_030_000)
    assert time.now_ms(30 * MS) == 1_030


def test_local_and_server_time_are_inverse() -> None:
    time = ServerTime()
    time.observe(0, MS, 5_000_500)
    assert time.now_ms(time.local_ns(9_000)) == 9_000


@given(
    offset_ns=st.integers(-(10**18), 10**18),
    trips=st.lists(st.tuples(st.integers(0, 50 * MS), st.integers(0, 50 * MS)), min_size=1, max_size=30),
)
def test_the_error_is_at_most_half_the_shortest_round_trip_and_what_its_age_adds(
    offset_ns: int, trips: list[tuple[int, int]]
) -> None:
    time = ServerTime()
    local_ns, received = 10**18, list[tuple[int, int]]()
    for there_ns, back_ns in trips:
        local_ns += 100 * MS
        time.observe(local_ns, local_ns + there_ns + back_ns, (local_ns + there_ns + offset_ns) // 1_000)
        received.append((local_ns + there_ns + back_ns, there_ns + back_ns))
    now_ns = received[-1][0]
    bound_ns = min(trip_ns / 2 + abs(now_ns - at_ns) * 50 / 1e6 for at_ns, trip_ns in received)
    error_ns = abs(-time.local_ns(0) - offset_ns)
    assert error_ns <= bound_ns + 2_000
