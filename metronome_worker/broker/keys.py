"""The names of all keys in Redis, made here and nowhere else.

Every key of a flow holds the hash tag ``{flow}``: they share one slot, so each script is atomic on a cluster too.
"""

from __future__ import annotations

from msgspec import Struct

DEFAULT_NAMESPACE = "metronome"


def flow_index(namespace: str = DEFAULT_NAMESPACE) -> str:
    """Hash: flow to revision.  The only key without a tag; an index for people, never the truth."""
    return f"{namespace}:flows"


#: The consumer group by which the workers read an event stream: one, as each stream is read by one stage.
GROUP = "workers"

#: The lease of whoever publishes a flow's ticks.
TICKER = "ticker"


def source_owner(connector: str) -> str:
    """The name under which a source that reads from outside holds its lease and state; no stage has a colon."""
    return f"source:{connector}"


def flow_in(key: str) -> str:
    """The flow that a key belongs to, for messages."""
    return key.partition("{")[2].partition("}")[0]


class FlowKeys(Struct, frozen=True):
    """The keys of one flow in one namespace."""

    flow_name: str
    namespace: str = DEFAULT_NAMESPACE

    def _key(self, *parts: str) -> str:
        return ":".join((self.namespace, "{" + self.flow_name + "}", *parts))

    @property
    def flow(self) -> str:
        """Hash: revision, digest, status, run, deployed_at, bundle; of one that was removed its last numbers."""
        return self._key("flow")

    def schedule(self, connector: str) -> str:
        """Hash: kind, settings, anchor, next due (both ms), published, skipped, and the gap skipped last.

        ``paused``: how many of those skipped were skipped as the flow was paused; absent when none was.
        """
        return self._key("schedule", connector)

    def events(self, stage_input: str) -> str:
        """Stream: what a source emitted; ``replay:<connector>``: what was put back of its dead letters."""
        return self._key("events", stage_input)

    def lease(self, name: str) -> str:
        """String with TTL: ``<epoch> <holder>``; ``name`` is ``ticker``, a stage, or a source."""
        return self._key("lease", name)

    @property
    def epoch(self) -> str:
        """Counter: the fencing token of all leases of the flow."""
        return self._key("epoch")

    def state(self, owner: str) -> str:
        """Hash: positions and node states of a stage, or the cursor of a source."""
        return self._key("state", owner)

    def source_state(self, connector: str) -> str:
        """Hash: the cursor of a source that reads from outside."""
        return self.state(source_owner(connector))

    @property
    def exit(self) -> str:
        """Stream: exit requests, the barrier, who has drained, the end."""
        return self._key("exit")

    @property
    def dead(self) -> str:
        """Stream: dead letters."""
        return self._key("dead")

    @property
    def members(self) -> str:
        """Hash: one field per live process."""
        return self._key("members")

    @property
    def news(self) -> str:
        """Channel of publish/subscribe: the name of a lease that was just released, ``deployed``, or ``resumed``."""
        return self._key("news")
