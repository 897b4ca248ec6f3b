"""The flows that are simulated, as text."""

from __future__ import annotations

from msgspec import Struct

#: What a new revision changes.
CHANGES = ("", "interval", "pipeline", "sink")


class FlowSpec(Struct, frozen=True, kw_only=True):
    """A flow with a source ``fast`` and a file that holds the number of each of its ticks; and what else is said here.

    ``ticks``: of the source ``fast``; with that many the flow has done what it is to do.  ``leaves``: by an ``event``,
    by the ``request`` of an operator, or ``never``.  ``slow``: a source of its own with a file of its own (``apart``),
    one that feeds the pipeline of the first (``joined``), or none.  ``failing``: a stage in which every third event
    fails, and the others go to a ``file``, or to ``null``, so that workers share it; or there is none.  ``lines``: how
    many a source reads from a file.
    """

    name: str = "main"
    interval_ms: int = 100
    missed: str = "all"
    catch_up_ms: int = 60_000
    ticks: int = 300
    leaves: str = "never"
    code: int = 7
    delay_ms: int = 0
    is_graceful: bool = True
    slow: str = "apart"
    slowness: int = 7
    failing: str = ""
    lines: int = 0

    def text(self, change: str = "") -> str:
        """The source; ``change`` is what another revision has otherwise, one of ``CHANGES``."""
        parts = [self._fast(change)]
        if self.slow != "none":
            parts.append(self._slow(change))
        if self.failing:
            parts.append(self._failing())
        if self.lines:
            parts.append(self._lines())
        if change == "sink":
            parts.append(self._sink("more", "append") + "  connect /pipeline/ids to /connector/more;\n")
        return f"define flow {self.name}\nflow\n{''.join(parts)}end;\n\ndeploy flow {self.name};\n"

    @property
    def input_name(self) -> str:
        return f"{self.name}.in"

    def _source(self, name: str, interval_ms: int) -> str:
        config = f'"interval": {interval_ms}, "missed": "{self.missed}", "catch_up": {self.catch_up_ms}'
        return f"""
  define connector {name} from metronome with config = {{{config}}} end;
  create connector {name};
"""

    def _sink(self, name: str, mode: str) -> str:
        return f"""
  define connector {name} from file
  with codec = "json", postprocessors = ["separate"], config = {{"path": "{self.name}.{name}", "mode": "{mode}"}} end;
  create connector {name};
"""

    def _fast(self, change: str) -> str:
        shown = '{"n": event.id}' if change == "pipeline" else "event.id"
        text = f"""{self._source("fast", self.interval_ms)}{self._sink("fast_file", "append")}
  define pipeline ids pipeline select {shown} from in into out; end;
  create pipeline ids;
  connect /connector/fast to /pipeline/ids;
  connect /pipeline/ids to /connector/fast_file;
"""
        if self.leaves != "event":
            return text
        graceful = "true" if self.is_graceful else "false"
        return f"""{text}
  define connector leave from exit;
  define pipeline last
  pipeline
    select {{"exit": {self.code}, "delay": {self.delay_ms}, "graceful": {graceful}}}
    from in where event.id == {self.ticks - 1} into out;
  end;
  create connector leave;
  create pipeline last;
  connect /connector/fast to /pipeline/last;
  connect /pipeline/last to /connector/leave;
"""

    def _slow(self, change: str) -> str:
        interval_ms = self.interval_ms * self.slowness * (2 if change == "interval" else 1)
        source = self._source("slow", interval_ms)
        if self.slow == "joined":
            return f"{source}  connect /connector/slow to /pipeline/ids;\n"
        return f"""{source}{self._sink("slow_file", "truncate")}
  define pipeline slow_ids pipeline select event.id from in into out; end;
  create pipeline slow_ids;
  connect /connector/slow to /pipeline/slow_ids;
  connect /pipeline/slow_ids to /connector/slow_file;
"""

    def _failing(self) -> str:
        null = "  define connector rest from null;\n  create connector rest;\n"
        sink = self._sink("rest", "append") if self.failing == "file" else null
        return f"""{self._source("picky", self.interval_ms * 2)}{sink}
  define pipeline failing pipeline select 100 / (event.id % 3) from in into out; end;
  create pipeline failing;
  connect /connector/picky to /pipeline/failing;
  connect /pipeline/failing to /connector/rest;
"""

    def _lines(self) -> str:
        return f"""
  define connector lines from file
  with codec = "json", preprocessors = ["separate"],
    config = {{"path": "{self.input_name}", "mode": "read", "chunk_size": 16}} end;
  create connector lines;
{self._sink("lines_file", "append")}
  define pipeline copied pipeline select event from in into out; end;
  create pipeline copied;
  connect /connector/lines to /pipeline/copied;
  connect /pipeline/copied to /connector/lines_file;
"""
