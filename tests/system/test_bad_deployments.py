"""Whatever stands in Redis that should not: it is told, nothing else suffers, nobody dies, it can be healed."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import pytest
from msgspec import Struct
from redis import Redis

from metronome_worker.broker.keys import FlowKeys
from metronome_worker.broker.members import HEARTBEAT_MS, MEMBER_TTL_MS
from tests.harness.commands import command
from tests.harness.processes import METRONOME, RealProcess, wait_until
from tests.system.bad_deployments import ADVICE, CASES, COMMANDS, DEPLOY, NEW_RUN, BadDeployment
from tests.system.flows import IDS, assert_each_once, has_lines, lines_in, ticking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.commands import Command

__all__ = ["command"]

NAMESPACE: Final = "bad-deployments"
HEALTHY: Final = "healthy"
#: Enough on a busy machine; what is waited for takes a few seconds.
LIMIT_S: Final = 40.0
#: Events that a process logs over a flow each time when it tries again.
TRIES: Final = ("stage_taken", "leading", "session_restarts", "operator_must_act")


def claims(case: BadDeployment) -> str:
    return case.claim


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of a case: what was logged while it was damaged, and whether its flow goes on since it is healed."""

    logged: list[dict[str, Any]]
    goes_on: bool


class Bench:
    """One ticker and one worker with all flows of the table and a healthy one, each in the state it should be in."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.client = Redis.from_url(url)
        self.names = [case.claim for case in CASES]
        files = []
        for name, text in [(case.claim, case.flow_text) for case in CASES] + [(HEALTHY, ticking(100, name=HEALTHY))]:
            (folder / f"{name}.troy").write_text(text)
            files.append(f"../{name}.troy")
        self.ticker = self.start("ticker", *files)
        self.worker = self.start("worker")

    def start(self, name: str, *arguments: str) -> RealProcess:
        folder = self.folder / name
        folder.mkdir()
        return RealProcess(
            [*METRONOME, name, *arguments], folder, METRONOME_REDIS_URL=self.url, METRONOME_NAMESPACE=NAMESPACE
        )

    def file(self, name: str) -> Path:
        return self.folder / "worker" / (IDS if name == HEALTHY else f"{name}-{IDS}")

    def lines(self, name: str) -> int:
        return len(lines_in(self.file(name)))

    def keys(self, name: str) -> FlowKeys:
        return FlowKeys(name, NAMESPACE)

    def logged(self, name: str) -> list[dict[str, Any]]:
        lines = [line for process in (self.ticker, self.worker) for line in process.stderr.split("\n")[:-1]]
        # Who is there is told by the process; all else by the flow.
        about = [json.loads(line) for line in lines if line.startswith("{") and name in line]
        return [r for r in about if r.get("flow") == name or ("{" + name + "}") in str(r.get("value"))]

    def complaints(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.logged(name) if record["event"] == "operator_must_act"]

    def heal(self, case: BadDeployment) -> None:
        """What is done by hand; what is deployed again is deployed together."""
        keys = self.keys(case.claim)
        if callable(case.heals):
            case.heals(self.client, keys)
        elif case.heals in (ADVICE, NEW_RUN):
            [*_, last] = self.complaints(case.claim)
            for advised in re.findall(r"`redis-cli ([^`]+)`", last["advice"]):
                self.client.execute_command(*shlex.split(advised))
        if case.heals == NEW_RUN:
            self.client.xadd(keys.exit, {"exit": 0, "graceful": "false"})

    def run(self) -> dict[str, Outcome]:
        everyone = [*self.names, HEALTHY]
        wait_until(lambda: all(has_lines(self.file(name), 2) for name in everyone), LIMIT_S, "every flow runs")
        for case in CASES:
            case.damage(self.client, self.keys(case.claim))
        told = [case.claim for case in CASES if case.says]
        for name in told:
            wait_until(lambda name=name: bool(self.complaints(name)), LIMIT_S, f"it is told of {name}")  # type: ignore[misc]
        logged = {name: self.logged(name) for name in everyone}
        for case in CASES:
            self.heal(case)
        ending = [self.keys(case.claim).flow for case in CASES if case.heals == NEW_RUN]
        wait_until(lambda: all(self.client.hget(key, "status") == b"ended" for key in ending), LIMIT_S, "runs end")
        again = [case.claim for case in CASES if case.heals in (DEPLOY, NEW_RUN) or case.claim == "flow_replaced"]
        deploy = self.start("deploy", *(f"../{name}.troy" for name in again))
        assert deploy.wait(LIMIT_S) == 0, deploy.stderr
        before = {name: self.lines(name) for name in everyone}

        def all_go_on() -> bool:
            return all(self.lines(name) > before[name] + 2 for name in everyone)

        with suppress(AssertionError):  # told case by case
            wait_until(all_go_on, LIMIT_S, "every flow goes on")
        return {name: Outcome(logged=logged[name], goes_on=self.lines(name) > before[name] + 2) for name in everyone}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self.ticker, self.worker):
            if process.is_running:
                process.kill()
        self.client.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield stack.enter_context(Bench(tmp_path_factory.mktemp("bench"), valkey_url))


@pytest.fixture(scope="module")
def outcomes(bench: Bench) -> dict[str, Outcome]:
    return bench.run()


# --- processes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=claims)
def test_deployment_tells_and_outlives(case: BadDeployment, bench: Bench, outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes[case.claim]
    complaints = [record for record in outcome.logged if record["event"] == "operator_must_act"]
    said = "\n".join(json.dumps(record, ensure_ascii=False) for record in complaints).replace('\\"', '"')
    assert [words for words in case.says if words not in said] == [], said
    assert bool(complaints) == bool(case.says), said
    assert len(complaints) <= 4, "the same again and again"
    assert sum(record["event"] in TRIES for record in outcome.logged) < 40, "tried again and again without a pause"
    assert outcome.goes_on, f"heals by {case.heals}: {bench.logged(case.claim)[-5:]}"
    if case.keeps_all:
        assert_each_once(bench.file(case.claim))


def test_nobody_has_died_and_the_healthy_flow_knows_nothing_of_it(bench: Bench, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[HEALTHY].goes_on
    assert [record for record in bench.logged(HEALTHY) if record["level"] != "info"] == []
    assert_each_once(bench.file(HEALTHY))
    for process in (bench.ticker, bench.worker):
        assert process.is_running, process.stderr[-2000:]
        assert "Traceback" not in process.stderr
        assert "this is a bug" not in process.stderr


def test_entries_that_are_not_ours_are_dead_letters(bench: Bench, outcomes: dict[str, Outcome]) -> None:
    assert outcomes["entries_not_ours"].goes_on
    letters = [fields[b"error"] for _, fields in bench.client.xrange(bench.keys("entries_not_ours").dead)]  # type: ignore[union-attr]
    assert len(letters) == 5
    assert all(b"the entry is damaged or not ours" in error for error in letters)


def test_members_that_are_not_ours_are_gone(bench: Bench, outcomes: dict[str, Outcome]) -> None:
    assert outcomes["members_not_ours"].goes_on
    members = bench.client.hgetall(bench.keys("members_not_ours").members)
    assert len(members) == 2, members  # type: ignore[arg-type]


def test_killed_process_is_gone_from_status_within_its_time(bench: Bench, outcomes: dict[str, Outcome]) -> None:
    assert outcomes[HEALTHY].goes_on
    members = bench.keys(HEALTHY).members
    (bench.folder / "third").mkdir()
    environment = {"METRONOME_REDIS_URL": bench.url, "METRONOME_NAMESPACE": NAMESPACE}
    with RealProcess([*METRONOME, "worker"], bench.folder / "third", **environment) as third:
        wait_until(lambda: bench.client.hlen(members) == 3, LIMIT_S, "the third is there")
        third.kill()
    wait_until(lambda: bench.client.hlen(members) == 2, (MEMBER_TTL_MS + 3 * HEARTBEAT_MS) / 1000, "it is gone")


# --- commands ------------------------------------------------------------------------------------------------


@pytest.fixture
def told(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, valkey_url: str) -> Iterator[Redis]:
    """For commands in an empty folder and a namespace of their own; gives a client."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRONOME_REDIS_URL", valkey_url)
    monkeypatch.setenv("METRONOME_NAMESPACE", f"{NAMESPACE}-commands")
    with Redis.from_url(valkey_url) as client:
        yield client
        for key in client.scan_iter(f"{NAMESPACE}-commands*"):
            client.delete(key)


@pytest.mark.parametrize("case", CASES, ids=claims)
def test_commands_work_or_tell(case: BadDeployment, told: Redis, command: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.troy").write_text(case.flow_text)
    assert command("deploy", "flow.troy").status == 0
    keys = FlowKeys(case.claim, f"{NAMESPACE}-commands")
    case.damage(told, keys)
    for name, arguments in COMMANDS.items():
        outcome = command(*(argument.format(flow=case.claim) for argument in arguments))
        said = outcome.stdout + outcome.stderr
        assert "Traceback" not in said
        assert "this is a bug" not in said
        assert ("error: " in said) == (outcome.status in (2, 3)), f"{name}: {said}"
        if name in case.told_by:
            assert outcome.status == 3, f"{name}: {said}"
        elif name not in ("verify", "health", "undeploy"):  # nobody runs it, which those find wrong; and it runs
            assert outcome.status == 0, f"{name}: {said}"


NAMES: Final = ("nosuch", "a{b}c", "a:b", "a b", "", "x" * 5000, "\udcff", "line\nbreak")


@pytest.mark.parametrize(
    "name", NAMES, ids=[name[:12].encode("ascii", "replace").decode() or "empty" for name in NAMES]
)
def test_unknown_flow_is_named_by_each_command(name: str, told: Redis, command: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.troy").write_text(ticking(1_000, name="no_such"))
    assert command("deploy", "flow.troy").status == 0
    asking = [["status", name], ["dead", "show", name, "1-0"]]
    asking += [[a.format(flow=name) for a in arguments] for arguments in COMMANDS.values() if len(arguments) > 1]
    for arguments in asking:
        outcome = command(*arguments)
        assert outcome.status == 2, outcome.stderr
        assert "there is no flow" in outcome.stderr
        assert "no_such" in outcome.stderr, "what there is, or what was meant"
        assert len(outcome.stderr) < 200
    assert told.hget(FlowKeys("no_such", f"{NAMESPACE}-commands").flow, "status") == b"running"


def test_flow_that_was_undeployed_is_unknown_again(told: Redis, command: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.troy").write_text(ticking(1_000))
    command("deploy", "flow.troy")
    told.hset(FlowKeys("main", f"{NAMESPACE}-commands").flow, "status", "ended")
    assert command("undeploy", "main").status == 0
    assert command("pause", "main").stderr == "error: there is no flow main\n  none is deployed\n"
    assert command("flows").stdout == "nothing is deployed\n"
    flow = FlowKeys("main", f"{NAMESPACE}-commands").flow
    assert list(told.scan_iter(f"{NAMESPACE}-commands*")) == [flow.encode()]
    assert sorted(told.hkeys(flow)) == [b"last_code", b"last_epoch", b"last_run"]  # type: ignore[type-var]
    assert command("undeploy", "main").status == 2
    assert command("deploy", "flow.troy").stdout == "main: started (run 2, revision 1)\n"


def test_flow_of_the_same_name_from_another_file_is_told(told: Redis, command: Command, tmp_path: Path) -> None:
    (tmp_path / "one.troy").write_text(ticking(1_000))
    (tmp_path / "two.troy").write_text(ticking(2_000))
    assert command("deploy", "one.troy").stdout == "main: started (run 1, revision 1)\n"
    other = command("deploy", "two.troy")
    assert other.status == 0
    assert "two.troy takes the place of one.troy, revision 1, another file" in other.stdout
    assert "give one of them another name" in other.stdout
    back = command("deploy", "one.troy")
    assert back.status == 1
    assert "superseded" in back.stdout
    assert "--force" in back.stdout
    (tmp_path / "two.troy").write_text(ticking(3_000))
    again = command("deploy", "two.troy").stdout
    assert again == "main: changed (run 1, revision 3)\n  two.troy takes the place of two.troy, revision 2\n"
    assert told.hget(FlowKeys("main", f"{NAMESPACE}-commands").flow, "revision") == b"3"


def test_members_that_are_long_gone_are_not_shown(told: Redis, command: Command, tmp_path: Path) -> None:
    (tmp_path / "flow.troy").write_text(ticking(1_000))
    command("deploy", "flow.troy")
    members = FlowKeys("main", f"{NAMESPACE}-commands").members
    card = json.dumps({"role": "worker", "host": "gone", "pid": 1, "since": "x", "holds": ["tick"]})
    now_ms = told.time()[0] * 1000  # type: ignore[index]
    told.hset(members, mapping={"old": f"{now_ms - 10_000} {card}", "later": f"{now_ms + 60_000} {card}"})
    assert json.loads(command("status", "--json").stdout)[0]["members"] == {}
    told.hset(members, "now", f"{now_ms} {card}")
    assert list(json.loads(command("status", "--json").stdout)[0]["members"]) == ["now"]


# --- namespaces ----------------------------------------------------------------------------------------------


def test_namespaces_are_apart_in_every_command(
    told: Redis, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = f"{NAMESPACE}-commands", f"{NAMESPACE}-commands:other"
    (tmp_path / "flow.troy").write_text(ticking(1_000))
    (tmp_path / "shared.troy").write_text(ticking(1_000, name="shared"))
    command("deploy", "flow.troy", "shared.troy")
    monkeypatch.setenv("METRONOME_NAMESPACE", theirs)
    assert command("flows").stdout == "nothing is deployed\n"
    for arguments in COMMANDS.values():
        if len(arguments) > 1:
            assert "there is no flow main" in command(*(a.format(flow="main") for a in arguments)).stderr
    assert command("deploy", "shared.troy").stdout == "shared: started (run 1, revision 1)\n"
    assert command("exit", "--code", "7").stdout == "shared: asked to leave with code 7\n"
    assert told.xlen(FlowKeys("shared", theirs).exit) == 1
    assert told.exists(FlowKeys("shared", mine).exit) == 0
    assert [one["flow"] for one in json.loads(command("status", "--json").stdout)] == ["shared"]
    monkeypatch.setenv("METRONOME_NAMESPACE", mine)
    assert [one["flow"] for one in json.loads(command("status", "--json").stdout)] == ["main", "shared"]


@pytest.mark.parametrize("namespace", ["a{b}", "a b", "a*", "x" * 101, "é"])
def test_namespace_that_keys_cannot_begin_with_is_refused(
    namespace: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRONOME_NAMESPACE", namespace)
    monkeypatch.setenv("METRONOME_REDIS_URL", "redis://127.0.0.1:1/0")
    outcome = command("flows")
    assert outcome.status == 3
    assert "METRONOME_NAMESPACE" in outcome.stderr
    assert "letters, digits" in outcome.stderr
