"""docker-compose.yml on a real engine: what ends by itself, what takes over, and what the containers may do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.compose.stack import Stack, say, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.compose.stack import Container

pytestmark = pytest.mark.usefixtures("image")

#: From `up` to the end of a flow of one second, on a busy machine.
RUN_LIMIT_S = 180.0

#: A leader's or worker's lease, and what a busy machine needs on top.
TAKEOVER_LIMIT_S = 20.0

#: Ends after the tick that the test names, with status 7.
ENDING = """
define flow main
flow
  define connector tick from metronome with config = {"interval": 200} end;
  define connector exit from exit;
  define pipeline leave pipeline select {"exit": 7} from in where event.id == LAST into out; end;
  create connector tick;
  create connector exit;
  create pipeline leave;
  connect /connector/tick to /pipeline/leave;
  connect /pipeline/leave to /connector/exit;
end;
deploy flow main;
"""

#: Writes the number of each tick, for ever.
COUNTING = """
define flow main
flow
  define connector tick from metronome with config = {"interval": 50} end;
  define connector file from file
  with codec = "json", postprocessors = ["separate"], config = {"path": "ids.log", "mode": "append"} end;
  define pipeline ids pipeline select event.id from in into out; end;
  create connector tick;
  create connector file;
  create pipeline ids;
  connect /connector/tick to /pipeline/ids;
  connect /pipeline/ids to /connector/file;
end;
deploy flow main;
"""


def readable(folder: Path, text: str) -> Path:
    """A folder with ``flow.troy`` that the container's user may read, whatever the umask here."""
    flows = folder / "flows"
    flows.mkdir()
    (flows / "flow.troy").write_text(text, encoding="utf-8")
    (flows / "flow.troy").chmod(0o644)
    flows.chmod(0o755)
    return flows


def worker_of(flow: dict[str, Any]) -> str | None:
    """Who runs the first stage, as status tells it."""
    return next(iter(flow["stages"][0]["workers"]), None)


def test_flow_of_the_seed_ends_the_stack_with_status_0_and_one_line() -> None:
    with Stack("seed", flow="every_second.troy") as stack:
        status, said = stack.run_to_its_end(RUN_LIMIT_S)
        assert status == 0, said
        assert stack.file("out.log") == '"triggered"\n'
        assert [one.status for one in stack.members] == [0] * 5
        assert said.count('"event":"sources_stopped"') == 1


def test_status_of_the_flow_is_the_status_of_the_stack(tmp_path: Path) -> None:
    with Stack("seven", flows=readable(tmp_path, ENDING.replace("LAST", "5")), flow="flow.troy") as stack:
        status, said = stack.run_to_its_end(RUN_LIMIT_S)
        assert status == 7, said


def test_killed_leader_and_worker_leave_no_gap_and_exit_ends_all_with_one_code(tmp_path: Path) -> None:
    with Stack("chaos", flows=readable(tmp_path, COUNTING), flow="flow.troy") as stack:
        stack.start("--scale", "worker=4")
        wait_for_lines(stack, 20, RUN_LIMIT_S)
        assert len(stack.containers("worker")) == 4

        leader = kill_and_wait_for_another(stack, lambda flow: flow["ticker"]["epoch"], lambda flow: flow["leader"])
        wait_for_lines(stack, len(ids(stack)) + 20, TAKEOVER_LIMIT_S)
        owner = kill_and_wait_for_another(stack, lambda flow: flow["stages"][0]["lease"]["epoch"], worker_of)
        wait_for_lines(stack, len(ids(stack)) + 20, TAKEOVER_LIMIT_S)

        said = stack.metronome("exit", "--code", "3")
        assert "asked to leave with code 3" in said
        took_s = wait_until(lambda: not any(one.is_running for one in stack.members), 40, "the end of the stack")
        say(f"the stack has left after {took_s:.1f} s")

        killed = {leader.id, owner.id}
        assert {one.status for one in stack.members if one.id in killed} == {137}
        assert {one.id: one.status for one in stack.members if one.status != 3 and one.id not in killed} == {}
        published = int(stack.redis_cli("HGET", "metronome:{main}:schedule:tick", "published"))
        assert ids(stack) == list(range(published))
        say(f"{published} ticks, each once, in order")


def test_containers_are_healthy_and_may_do_nothing_but_their_work(tmp_path: Path) -> None:
    with Stack("confined", flows=readable(tmp_path, COUNTING), flow="flow.troy") as stack:
        stack.start()
        everyone = [one for found in stack.containers_by_service().values() for one in found]
        assert len(everyone) == 6
        took_s = wait_until(lambda: all(one.health == "healthy" for one in everyone), 90, "all are healthy")
        say(f"all are healthy after {took_s:.1f} s")
        for one in everyone:
            status, said = one.try_out("cat", "/proc/1/status")
            facts = dict(re.findall(r"^(\w+):\s*(.*)$", said, re.MULTILINE))
            assert set(facts["Uid"].split()) <= {"10001", "999"}, facts
            assert set(facts["Gid"].split()) <= {"10001", "999"}, facts
            assert {facts[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {""}, (
                facts
            )
            assert facts["NoNewPrivs"] == "1"
            for folder in ("/", "/etc", "/usr/bin"):
                status, said = one.try_out("touch", f"{folder}/mark", user="0")
                assert status != 0, one.inspect()["Name"]
                assert "Read-only file system" in said

        (ticker,) = stack.containers("ticker")
        status, said = ticker.try_out("touch", "/flows/mark", user="0")
        assert "Read-only file system" in said


def test_health_tells_a_process_that_hangs_and_an_outage_from_one_that_is_well(tmp_path: Path) -> None:
    with Stack("health", flows=readable(tmp_path, COUNTING), flow="flow.troy") as stack:
        stack.start("--scale", "worker=1")
        (worker,), (ticker,), (redis,) = (stack.containers(name) for name in ("worker", "ticker", "redis"))

        def health(*arguments: str) -> int:
            return worker.try_out("metronome", "health", *arguments)[0]

        wait_for_lines(stack, 1, RUN_LIMIT_S)
        wait_until(lambda: health() == 0, 10, "the worker is healthy")
        assert health("--role", "worker") == 0
        assert health("--role", "ticker") == 1

        ticker.send("STOP")
        wait_until(lambda: ticker.try_out("metronome", "health")[0] == 1, 10, "the stopped ticker is unhealthy")
        assert health() == 0
        ticker.send("CONT")
        wait_until(lambda: ticker.try_out("metronome", "health")[0] == 0, 10, "it is healthy again")

        redis.send("STOP")
        assert health() == 3
        assert health("--spare-outage") == 0
        redis.send("CONT")
        wait_until(lambda: health() == 0, 20, "healthy when Redis is back")


def test_sigterm_hands_over_and_leaves_with_status_0(tmp_path: Path) -> None:
    with Stack("stop", flows=readable(tmp_path, COUNTING), flow="flow.troy") as stack:
        stack.start("--scale", "worker=2")
        wait_for_lines(stack, 5, RUN_LIMIT_S)
        wait_until(lambda: stack.flow()["leader"] and worker_of(stack.flow()), 10, "who leads and works")
        flow = stack.flow()
        for place in (flow["leader"], worker_of(flow)):
            container = stack.container_at(place)
            stack_lines = len(ids(stack))
            container.send("TERM")
            took_s = wait_until(lambda one=container: not one.is_running, 10, "it has left")
            assert container.status == 0
            say(f"left {took_s:.1f} s after SIGTERM")
            wait_for_lines(stack, stack_lines + 20, TAKEOVER_LIMIT_S)
        found = ids(stack)
        assert found == list(range(len(found)))


def test_standing_stack_brings_back_what_crashed_but_no_flow_that_has_ended(tmp_path: Path) -> None:
    files = ("docker-compose.yml", "infra/compose.standing.yml")
    with Stack("standing", flows=readable(tmp_path, COUNTING), flow="none.troy", files=files) as stack:
        stack.start("--scale", "worker=2")
        assert "started (run 1" in stack.metronome("deploy", "/flows/flow.troy")
        wait_for_lines(stack, 5, RUN_LIMIT_S)
        wait_until(lambda: worker_of(stack.flow()) is not None, TAKEOVER_LIMIT_S, "who works")
        owner = stack.container_at(worker_of(stack.flow()))
        owner.crash()
        took_s = wait_until(lambda: owner.restarts == 1 and owner.is_running, TAKEOVER_LIMIT_S, "it is back")
        say(f"a worker that crashed was back after {took_s:.1f} s")

        before = {one.id: one.restarts for one in stack.members}
        stack.metronome("exit", "--code", "7")
        wait_until(lambda: all(one.restarts > before[one.id] for one in stack.members), 60, "all have left")
        took_s = wait_until(lambda: all(one.has_run_for(20) for one in stack.members), 240, "all stand by")
        say(f"all stand by, for 20 s, {took_s:.1f} s later")
        flow = stack.flow()
        assert (flow["status"], flow["code"], flow["run"]) == ("ended", 7, 1)
        assert ids(stack) == list(range(flow["schedules"][0]["published"]))

        assert "started (run 2" in stack.metronome("deploy", "/flows/flow.troy")
        wait_until(lambda: stack.flow()["schedules"][0]["published"] > 20, TAKEOVER_LIMIT_S, "ticks of a new run")


def kill_and_wait_for_another(
    stack: Stack, epoch: Callable[[dict[str, Any]], int | None], place: Callable[[dict[str, Any]], str | None]
) -> Container:
    """Kill who holds a lease; returns it when another has taken that.  Right after a start nobody is known to yet."""
    wait_until(lambda: place(stack.flow()) is not None, TAKEOVER_LIMIT_S, "who holds it")
    before = stack.flow()
    holder = stack.container_at(str(place(before)))
    holder.kill()

    def has_another() -> bool:
        now = epoch(stack.flow())
        return now is not None and now > (epoch(before) or 0)

    say(f"another holds it {wait_until(has_another, TAKEOVER_LIMIT_S, 'another holder'):.1f} s after the kill")
    return holder


def ids(stack: Stack) -> list[int]:
    return [int(line) for line in stack.file("ids.log").splitlines()]


def wait_for_lines(stack: Stack, lines: int, limit_s: float) -> None:
    def has() -> bool:
        try:
            return len(ids(stack)) >= lines
        except AssertionError:
            return False  # no worker has made the file yet

    wait_until(has, limit_s, f"{lines} lines in ids.log")
