"""The scripts: one Lua file per state change, loaded once, run by digest.

A script is the only way in which a leader or owner writes.  Each file's header gives its keys, arguments, result
and why it is one step; the typed functions that call them live beside what they are about (``leases``, ``flows``,
``ticks``, ``commits``).
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

NAMES = (
    "acquire_lease",
    "renew_lease",
    "release_lease",
    "deploy_flow",
    "pause_flow",
    "resume_flow",
    "remove_flow",
    "announce_member",
    "publish_ticks",
    "publish_events",
    "commit_batch",
    "commit_claims",
    "claim_idle",
    "drain_claims",
    "leave_group",
    "renew_group",
    "pardon_attempt",
    "replay_letters",
    "write_barrier",
    "write_end",
    "trim_stream",
    "trim_claims",
)

Argument = str | bytes | int


class Script(Struct, frozen=True):
    """One Lua file: its ``text`` and the SHA-1 (hexadecimal) that Redis knows it by."""

    name: str
    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """The script in ``lua/<name>.lua``."""
    text = (resources.files("metronome_worker.broker") / "lua" / f"{name}.lua").read_text("utf-8")
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


async def run_script(client: Redis, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
    """Run a script and return Redis's reply as it is (bytes, integers, lists).

    A server that does not know it (fresh, restarted, failed over) is sent the text.  Cancelling may leave the script
    run or not run: every script is written so that running it again does no harm.
    """
    wanted = script(name)
    rest = (len(keys), *keys, *args)
    try:
        return await client.execute_command("EVALSHA", wanted.sha, *rest)  # type: ignore[no-untyped-call]
    except NoScriptError:
        return await client.execute_command("EVAL", wanted.text, *rest)  # type: ignore[no-untyped-call]
