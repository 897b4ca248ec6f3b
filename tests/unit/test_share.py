"""How much of the work one process holds."""

from __future__ import annotations

from metronome_worker.share import YIELD_S, Share


def sharing(pieces: int, members: int) -> Share:
    share = Share()
    share.members = members
    share.set_total("flow", pieces)
    return share


def test_a_process_alone_never_waits_for_others() -> None:
    share = sharing(2, 1)
    for piece in ("a", "b"):
        share.take(("flow", piece))
    assert share.yield_s == 0
    assert share.hand_over_surplus() == ()


def test_who_holds_its_share_lets_others_come_first() -> None:
    share = sharing(4, 2)
    share.take(("flow", "a"))
    assert share.yield_s == 0
    share.take(("flow", "b"))
    assert share.yield_s == YIELD_S


def test_what_is_above_the_share_is_handed_over_the_latest_first_and_once() -> None:
    share = sharing(4, 1)
    events = {piece: share.take(("flow", piece)) for piece in "abcd"}
    share.members = 2
    assert share.hand_over_surplus() == (("flow", "d"), ("flow", "c"))
    assert [piece for piece, event in events.items() if event.is_set()] == ["c", "d"]
    assert share.hand_over_surplus() == (), "they are on their way"
    share.drop(("flow", "c"))
    share.drop(("flow", "d"))
    assert share.hand_over_surplus() == ()


def test_what_has_ended_counts_no_more() -> None:
    share = sharing(4, 2)
    share.forget("flow")
    assert (share.limit, share.flows) == (0, ())
