"""What `metronome health` makes of the members that stand in Redis.  Needs no engine."""

from __future__ import annotations

import msgspec
import pytest

from metronome_worker.broker.members import MEMBER_TTL_MS, Member
from metronome_worker.cli.health import FlowMembers, judge

NOW_MS = 1_000_000


def seen(ago_ms: int, *, role: str = "worker", host: str = "here") -> bytes:
    member = Member(role=role, host=host, pid=1, since="2024-01-01T00:00:00+00:00")
    return b"%d %s" % (NOW_MS - ago_ms, msgspec.json.encode(member))


@pytest.mark.parametrize(
    ("members", "role", "is_healthy"),
    [
        pytest.param({}, None, True, id="no flow runs"),
        pytest.param({}, "worker", True, id="no flow runs, a role is asked for"),
        pytest.param({"f": [seen(0)]}, None, True, id="just heard of"),
        pytest.param({"f": [seen(MEMBER_TTL_MS)]}, None, True, id="still counts as alive"),
        pytest.param({"f": [seen(MEMBER_TTL_MS + 1)]}, None, False, id="quiet for too long"),
        pytest.param({"f": [seen(-MEMBER_TTL_MS - 1)]}, None, False, id="by hand, of the future"),
        pytest.param({"f": []}, None, False, id="a flow runs without us"),
        pytest.param({"f": [seen(0, host="there")]}, None, False, id="only others are alive"),
        pytest.param({"f": [], "g": [seen(0)]}, None, True, id="one flow is enough"),
        pytest.param({"f": [seen(9_000), seen(0)]}, None, True, id="one that died before it on the same host"),
        pytest.param({"f": [seen(0)]}, "worker", True, id="of the role"),
        pytest.param({"f": [seen(0)]}, "ticker", False, id="only of another role"),
        pytest.param({"f": [b"", b"x", b"1", b"5 {}", b"5 []", b"\xff \xff"]}, None, False, id="damaged"),
        pytest.param({"f": [b"x", seen(0)]}, None, True, id="damaged beside ours"),
    ],
)
def test_process_is_alive_when_it_was_heard_of_in_a_flow_that_runs(
    members: dict[str, list[bytes]], role: str | None, is_healthy: bool
) -> None:
    flows = {flow: FlowMembers(NOW_MS, tuple(values)) for flow, values in members.items()}
    verdict = judge(flows, "here", role)
    assert verdict.is_healthy is is_healthy, verdict.why
