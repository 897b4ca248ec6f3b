"""`metronome verify` on real deployments: in order, doctored, and not there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.harness.commands import command
from tests.system.flows import flow_of, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.commands import Command

__all__ = ["command"]

#: Two stages: numbers to two files, one dead letter, a third source's file that nobody can predict the start of.
FLOW = flow_of(
    'define connector tick from metronome with config = {"interval": 10} end;',
    'define connector slow from metronome with config = {"interval": 30} end;',
    'define connector file from file with codec = "json", postprocessors = ["separate"], '
    'config = {"path": "ids.log", "mode": "truncate"} end;',
    'define connector more from file with codec = "json", postprocessors = ["separate"], '
    'config = {"path": "more.log", "mode": "append"} end;',
    "define connector exit from exit;",
    "define pipeline ids pipeline select 10 / (event.id - 7) from in into out; end;",
    'define pipeline leave pipeline select {"exit": 3} from in where event.id == 40 into out; end;',
    "create connector tick;",
    "create connector slow;",
    "create connector file;",
    "create connector more;",
    "create connector exit;",
    "create pipeline ids;",
    "create pipeline slow_ids from ids;",
    "create pipeline leave;",
    "connect /connector/tick to /pipeline/ids;",
    "connect /connector/tick to /pipeline/leave;",
    "connect /connector/slow to /pipeline/slow_ids;",
    "connect /pipeline/ids to /connector/file;",
    "connect /pipeline/slow_ids to /connector/more;",
    "connect /pipeline/leave to /connector/exit;",
)


@pytest.fixture
def ended(tmp_path: Path, valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """A run that has ended; commands of the test look at it, from its folder."""
    (tmp_path / "more.log").write_text("what was there\n")
    with run(tmp_path, FLOW, "--redis", valkey_url, METRONOME_NAMESPACE=namespace) as process:
        assert process.wait(15) == 3, process.stderr
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METRONOME_REDIS_URL", valkey_url)
    monkeypatch.setenv("METRONOME_NAMESPACE", namespace)
    return Redis.from_url(valkey_url, decode_responses=True)


def verdicts(said: str) -> dict[tuple[str, str], str]:
    return {(check["name"], check["about"]): check["verdict"] for check in json.loads(said)["checks"]}


def test_run_in_order_has_no_violation_and_each_doctored_thing_is_found(
    ended: Redis, command: Command, tmp_path: Path, namespace: str
) -> None:
    def violations() -> list[str]:
        outcome = command("verify", "main", "--json")
        found = [v for check in json.loads(outcome.stdout)["checks"] for v in check["violations"]]
        assert outcome.status == (1 if found else 0)
        return found

    def key(*parts: str) -> str:
        return ":".join((namespace, "{main}", *parts))

    outcome = command("verify", "main", "--json")
    assert outcome.status == 0, outcome.stdout
    found = verdicts(outcome.stdout)
    assert set(found.values()) == {"ok"}
    assert {name for name, _ in found} == {
        "ticks", "schedule", "overdue", "counters", "lines", "requests", "dead letters", "epochs", "exit"
    }  # fmt: skip
    shown = command("verify", "main").stdout
    assert "main: ended (run 1, revision 1)" in shown
    assert "no violation in 15 checks, 0 not made" in shown

    file, text = tmp_path / "ids.log", (tmp_path / "ids.log").read_text()
    file.write_text(text.replace("10.0\n", "", 1))
    assert [v.split(":")[0] for v in violations()] == ["shorter than was committed", "lines missing"]
    file.write_text("1" + text[1:])
    assert [v.split(":")[0] for v in violations()] == ["lines missing", "lines not expected"]
    file.write_text(text + "0\n")
    assert [v.split(":")[0] for v in violations()] == ["more than was committed"]
    file.unlink()
    assert verdicts(command("verify", "main", "--json").stdout)["lines", "/connector/file"] == "not checked"
    file.write_text(text)
    more = (tmp_path / "more.log").read_text()
    (tmp_path / "more.log").write_text(more[:-1] + "1\n")
    assert violations() != []
    (tmp_path / "more.log").write_text(more)
    assert violations() == []

    ended.hincrby(key("schedule", "slow"), "published", 1)
    assert all(v.startswith("schedule does not add up: slow") for v in violations())
    ended.hincrby(key("schedule", "slow"), "published", -1)
    [letter, *_] = ended.xrange(key("dead"))
    again = ended.xadd(key("dead"), letter[1])
    assert [v.split(":")[0] for v in violations()] == ["dead letters doubled"]
    ended.xdel(key("dead"), again, letter[0])
    assert violations() == []  # somebody has dealt with it
    ended.xadd(key("exit"), {"end": 4})
    assert [v.split(":")[0] for v in violations()] == ["more than one end", "exit codes differ"]
    ended.close()


def test_missing_tick_is_found(ended: Redis, command: Command, namespace: str) -> None:
    name = f"{namespace}:{{main}}:events:tick"
    ended.xdel(name, ended.xrange(name)[5][0])
    outcome = command("verify", "main")
    assert outcome.status == 1
    assert "slots lost: tick" in outcome.stdout
    assert "gap in ids: tick" in outcome.stdout
    ended.close()


def test_unknown_flow_is_said_so(ended: Redis, command: Command) -> None:
    outcome = command("verify", "mian")
    assert outcome.status == 2
    assert "there is no flow mian" in outcome.stderr
    assert "did you mean `main`?" in outcome.stderr
    ended.close()
