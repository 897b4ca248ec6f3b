"""The stack of docker-compose.yml on a real engine, under a project name of its own; nothing of it remains."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY: Final = Path(__file__).parents[2]
IMAGE: Final = "metronome-worker:test"
REDIS_IMAGE: Final = "redis:7-bookworm"
#: For one command of Docker's on a machine that is busy.
COMMAND_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.25


def run(*command: str, limit_s: float = COMMAND_LIMIT_S, environment: dict[str, str] | None = None) -> str:
    """What a command says on stdout; fails, with all that it says, when it fails or takes longer."""
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def compose_command() -> tuple[str, ...] | None:
    """`docker compose` where it is there, else docker-compose; METRONOME_COMPOSE_COMMAND names another."""
    if named := os.environ.get("METRONOME_COMPOSE_COMMAND"):
        return tuple(named.split())
    plugin = ("docker", "compose")
    if subprocess.run([*plugin, "version"], capture_output=True, check=False).returncode == 0:
        return plugin
    return ("docker-compose",) if shutil.which("docker-compose") else None


def wait_until(is_so: Callable[[], bool], limit_s: float, what: str) -> float:
    """Poll until ``is_so()``; returns how many seconds that took, fails with ``what`` after ``limit_s``."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < limit_s, f"not within {limit_s} s: {what}"
        time.sleep(_POLL_S)
    return time.monotonic() - start


def say(text: str) -> None:
    """What a person who runs this wants to see; pytest shows it with -s."""
    sys.stdout.write(f"\n{text}")
    sys.stdout.flush()


class Container:
    """A container of the stack, running or not."""

    def __init__(self, identity: str) -> None:
        self.id = identity

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(run("docker", "inspect", self.id))[0]
        return found

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.inspect()["State"]
        return state

    @property
    def is_running(self) -> bool:
        return bool(self.state["Running"])

    @property
    def restarts(self) -> int:
        return int(self.inspect()["RestartCount"])

    def has_run_for(self, least_s: float) -> bool:
        """Without a restart meanwhile; by the clock of the engine's host, taken to be this one."""
        state = self.state
        started = datetime.fromisoformat(re.sub(r"\.\d+Z$", "+00:00", state["StartedAt"]))
        return bool(state["Running"]) and (datetime.now(UTC) - started).total_seconds() >= least_s

    @property
    def status(self) -> int:
        return int(self.state["ExitCode"])

    @property
    def health(self) -> str:
        return str(self.state["Health"]["Status"])

    @property
    def log(self) -> str:
        done = subprocess.run(["docker", "logs", self.id], capture_output=True, text=True, timeout=30, check=False)
        return done.stdout + done.stderr

    def send(self, signal: str) -> None:
        run("docker", "kill", "--signal", signal, self.id)

    def kill(self) -> None:
        """SIGKILL, as when the kernel needs memory; that Docker does it means that no restart policy applies."""
        self.send("KILL")

    def crash(self) -> None:
        """SIGKILL from outside, which Docker had no hand in: to its restart policy this is a failure."""
        kill = (
            "run",
            "--rm",
            "--user=0",
            "--pid=host",
            "--network=none",
            "--cap-add=KILL",
            "--entrypoint=python",
            IMAGE,
        )
        run("docker", *kill, "-c", f"import os; os.kill({self.state['Pid']}, 9)")

    def try_out(self, *command: str, user: str | None = None) -> tuple[int, str]:
        """Run a command in the container: its status, and all that it said."""
        as_user = ["--user", user] if user is not None else []
        command = ("docker", "exec", *as_user, self.id, *command)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stdout + done.stderr


class Stack:
    """One project: ``with Stack("seed", flows=folder, flow="a.troy") as stack: ...``."""

    def __init__(
        self, name: str, *, flow: str, flows: Path | None = None, files: tuple[str, ...] = ("docker-compose.yml",)
    ) -> None:
        command = compose_command()
        assert command is not None
        self.project = f"metronome-test-{os.getpid()}-{name}"
        chosen = [f"--file={REPOSITORY / file}" for file in files]
        self._command = (*command, f"--project-name={self.project}", *chosen)
        own = {"METRONOME_IMAGE": IMAGE, "METRONOME_FLOW": flow}
        if flows is not None:
            own["METRONOME_FLOWS"] = str(flows)
        self.environment = own

    def __enter__(self) -> Self:
        try:
            self.compose("up", "--no-start", "redis")
            # The official image's /data belongs to its user, and so does a volume that is mounted there first.  Images
            # that stand in for it where no registry is reached have no such folder.
            volume = f"{self.project}_redis:/data"
            run(
                "docker",
                "run",
                "--rm",
                "--user=0",
                "--entrypoint=chown",
                f"--volume={volume}",
                REDIS_IMAGE,
                "999:999",
                "/data",
            )
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is not None:
                for service, containers in self.containers_by_service().items():
                    for container in containers:
                        say(f"--- {service} {container.id[:12]}: {container.state}\n{container.log[-4000:]}")
        finally:
            self.remove()

    def remove(self) -> None:
        """Containers, volumes and networks, also where Compose itself failed."""
        try:
            self.compose("down", "--volumes", "--remove-orphans", "--timeout", "2")
        finally:
            label = f"label=com.docker.compose.project={self.project}"
            for kind, listing, removing in (
                ("container", ["ls", "--all", "--quiet"], ["rm", "--force", "--volumes"]),
                ("volume", ["ls", "--quiet"], ["rm", "--force"]),
                ("network", ["ls", "--quiet"], ["rm"]),
            ):
                if left := run("docker", kind, *listing, "--filter", label).split():
                    run("docker", kind, *removing, *left)

    def compose(self, *arguments: str, limit_s: float = COMMAND_LIMIT_S) -> str:
        return run(*self._command, *arguments, limit_s=limit_s, environment=self.environment)

    def run_to_its_end(self, limit_s: float) -> tuple[int, str]:
        """`up --abort-on-container-exit --exit-code-from ticker`: its status, and all that it said."""
        command = (*self._command, "up", "--no-build", "--abort-on-container-exit", "--exit-code-from", "ticker")
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=limit_s,
            check=False,
        )
        return done.returncode, re.sub(r"\x1b\[\d*m", "", done.stdout)

    def start(self, *arguments: str) -> None:
        self.compose("up", "--no-build", "--detach", *arguments)

    def metronome(self, *arguments: str) -> str:
        """A command in a container of its own, as the head of docker-compose.yml has it."""
        return self.compose("run", "--rm", "--no-deps", "-T", "ticker", *arguments)

    def containers(self, service: str) -> list[Container]:
        labels = (f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}")
        filters = [f"--filter=label={label}" for label in labels]
        return [Container(found) for found in run("docker", "ps", "--all", "--quiet", "--no-trunc", *filters).split()]

    def containers_by_service(self) -> dict[str, list[Container]]:
        return {service: self.containers(service) for service in ("redis", "ticker", "standby", "worker")}

    @property
    def members(self) -> list[Container]:
        """Tickers and workers."""
        return [one for service, found in self.containers_by_service().items() if service != "redis" for one in found]

    def container_at(self, place: str) -> Container:
        """The container that `metronome status` calls ``HOST:PID``."""
        host = place.partition(":")[0]
        (found,) = (one for one in self.members if one.id.startswith(host))
        return found

    def flow(self) -> dict[str, Any]:
        """The one flow as `metronome status --json` has it."""
        container = next(one for one in self.members if one.is_running)
        status, said = container.try_out("metronome", "status", "--json")
        assert status == 0, said
        found: dict[str, Any] = json.loads(said)[0]
        return found

    def redis_cli(self, *arguments: str) -> str:
        (redis,) = self.containers("redis")
        status, said = redis.try_out("redis-cli", "-e", *arguments)
        assert status == 0, said
        return said

    def file(self, name: str) -> str:
        """What a file holds in the volume that the workers share."""
        volume = f"--volume={self.project}_out:/work:ro"
        return run("docker", "run", "--rm", "--network=none", "--entrypoint=cat", volume, IMAGE, f"/work/{name}")
