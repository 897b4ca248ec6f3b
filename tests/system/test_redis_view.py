"""What `redis-cli` shows while a flow runs: the keys of the design, with values that people can read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest
from redis import Redis

from metronome_worker.broker.embedded import EmbeddedServer
from tests.harness.processes import wait_until
from tests.system.flows import IDS, has_lines, run, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOW: Final = ticking(20)
LEASE: Final = re.compile(r"\d+ [0-9a-f]{16}")


class View:
    """The running flow `main` in Redis."""

    def __init__(self, client: Redis, namespace: str, folder: Path) -> None:
        self.client, self.namespace, self.folder = client, namespace, folder

    def key(self, *parts: str) -> str:
        return ":".join((self.namespace, "{main}", *parts))


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[View]:
    """One run for all tests that only look, on a server of its own: others empty theirs between these tests."""
    folder, namespace = tmp_path_factory.mktemp("view"), "view"
    server = EmbeddedServer()
    server.start()
    try:
        with (
            Redis.from_url(server.url, decode_responses=True) as client,
            run(folder, FLOW, "--redis", server.url, METRONOME_NAMESPACE=namespace) as process,
        ):
            wait_until(lambda: has_lines(folder / IDS, 5) or not process.is_running, 10, "five lines")
            yield View(client, namespace, folder)
            process.terminate()
            assert process.wait(10) == 0, process.stderr
    finally:
        server.stop()


def test_keys_of_a_running_flow_are_those_of_the_design(view: View) -> None:
    wanted = {
        f"{view.namespace}:flows": "hash",
        view.key("flow"): "hash",
        view.key("schedule", "tick"): "hash",
        view.key("events", "tick"): "stream",
        view.key("lease", "ticker"): "string",
        view.key("lease", "tick"): "string",
        view.key("epoch"): "string",
        view.key("state", "tick"): "hash",
    }
    found = {key: view.client.type(key) for key in view.client.keys(f"{view.namespace}:*")}
    # Who is alive is shown where the program has come to record it.
    found.pop(view.key("members"), None)
    assert found == wanted


def test_flow_is_stored_with_its_source_so_that_workers_need_no_files(view: View) -> None:
    flow = view.client.hgetall(view.key("flow"))
    assert (flow["run"], flow["revision"], flow["status"]) == ("1", "1", "running")
    assert re.fullmatch(r"[0-9a-f]{64}", flow["digest"])
    assert int(flow["deployed_at"]) <= int(flow["started_at"])
    bundle = json.loads(flow["bundle"])
    assert (bundle["main"], bundle["flow"]) == ("flow.troy", "main")
    assert bundle["sources"]["flow.troy"] == FLOW
    assert view.client.hget(f"{view.namespace}:flows", "main") == "1"


def test_schedule_tells_when_the_next_tick_is_due(view: View) -> None:
    schedule = view.client.hgetall(view.key("schedule", "tick"))
    assert schedule["kind"] == "metronome"
    assert json.loads(schedule["settings"])["interval"] == 20
    anchor, due, published = (int(schedule[name]) for name in ("anchor", "next", "published"))
    assert due == anchor + published * 20
    assert schedule["skipped"] == "0"


def test_entries_are_named_by_their_due_time_and_hold_what_tremor_emits(view: View) -> None:
    anchor = int(view.client.hget(view.key("schedule", "tick"), "anchor") or 0)
    epoch = int(str(view.client.get(view.key("lease", "ticker"))).split(maxsplit=1)[0])
    for n, (entry_id, fields) in enumerate(view.client.xrange(view.key("events", "tick"), count=5)):
        due_ms = anchor + n * 20
        data = json.loads(fields["data"])
        assert entry_id == f"{due_ms}-0"
        assert data == {"connector": "metronome", "ingest_ns": int(fields["ingest_ns"]), "id": n}
        assert int(fields["ingest_ns"]) >= due_ms * 1_000_000
        assert json.loads(fields["meta"]) == {"metronome": {"due_ms": due_ms, "epoch": epoch, "skipped": 0}}


def test_leases_name_epoch_and_holder_and_lapse_by_themselves(view: View) -> None:
    epochs = set()
    for name in ("ticker", "tick"):
        lease = str(view.client.get(view.key("lease", name)))
        assert LEASE.fullmatch(lease)
        assert 0 < view.client.pttl(view.key("lease", name)) <= 1_500
        epochs.add(int(lease.split(maxsplit=1)[0]))
    assert epochs == {1, 2}
    assert view.client.get(view.key("epoch")) == "2"


def test_state_of_a_stage_is_its_position_and_the_committed_length_of_its_file(view: View) -> None:
    state = view.client.hgetall(view.key("state", "tick"))
    assert re.fullmatch(r"\d{13}-0", state["events:tick"])
    assert int(state["commits"]) >= 5
    [node] = [name for name in state if name.endswith("/connector/file")]
    committed = json.loads(state[node])
    assert committed["path"] == str(view.folder / IDS)
    with (view.folder / IDS).open() as file:
        text = file.read(committed["length"])
    assert text == "".join(f"{n}\n" for n in range(int(state["read:tick"])))


def test_lag_of_a_stage_is_shown_by_xinfo_groups(view: View) -> None:
    def lag() -> int:
        [group] = view.client.xinfo_groups(view.key("events", "tick"))
        assert group["name"] == "workers"
        assert group["pending"] == 0
        return int(group["lag"])

    wait_until(lambda: lag() == 0, 5, "the stage is at the end of its stream")


def test_lag_that_is_told_is_what_lies_behind_the_position(view: View) -> None:
    def behind() -> tuple[int, int]:
        """What XINFO says, and what the stream holds behind the stage's position, in one moment."""
        with view.client.pipeline() as pipe:
            pipe.xinfo_groups(view.key("events", "tick"))
            pipe.hget(view.key("state", "tick"), "events:tick")
            pipe.xrange(view.key("events", "tick"))
            [group], position, entries = pipe.execute()
        after = [entry for entry, _ in entries if _id(entry) > _id(position)]
        return int(group["lag"]), len(after)

    for _ in range(20):
        told, counted = behind()
        assert told == counted


def _id(entry: str) -> tuple[int, ...]:
    return tuple(map(int, entry.split("-")))


def test_exit_stream_shows_request_barrier_and_end(tmp_path: Path, valkey_url: str, namespace: str) -> None:
    with (
        Redis.from_url(valkey_url, decode_responses=True) as client,
        run(tmp_path, FLOW, "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process,
    ):
        key = f"{namespace}:{{main}}:"
        wait_until(lambda: has_lines(tmp_path / IDS, 3) or not process.is_running, 10, "three lines")
        client.xadd(key + "exit", {"exit": "6"})
        assert process.wait(10) == 6, process.stderr
        request, barrier, drained, end = [fields for _, fields in client.xrange(key + "exit")]
        last = client.xinfo_stream(key + "events:tick")["last-generated-id"]
        flow = client.hgetall(key + "flow")
    assert request == {"exit": "6"}
    assert json.loads(barrier["barrier"]) == {"tick": last}
    assert barrier["code"] == "6"
    assert drained == {"drained": "tick"}
    assert (end["end"], end["reason"]) == ("6", "drained")
    assert (flow["status"], flow["code"]) == ("ended", "6")
