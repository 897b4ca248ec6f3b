"""What differs from run to run.  The pages show real values; here is, by name, what may differ in them.

Nothing else may.  A rule replaces a value of one form, never a whole line, in what a page shows and in what a command
printed alike.
"""

from __future__ import annotations

import re
from typing import Final

RULES: Final = {
    "time of day": (r"\b\d\d:\d\d:\d\d\.\d{6}\b", "‹time of day›"),
    "date and time": (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "‹date and time›"),
    "port that was free": (r"\b127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:‹port›"),
    "temporary directory": (r"[^\s\"'=]*/metronome-[0-9a-f]{16}\b", "‹temporary directory›"),
    "time in nanoseconds": (r"\b1\d{18}\b", "‹ns›"),
    "ID of a stream's entry": (r"\b1\d{12}-\d+\b", "‹id›"),
    "time in milliseconds": (r"\b1\d{12}\b", "‹ms›"),
    "lease": (r"\"\d+ [0-9a-f]{16}\"", '"‹epoch› ‹holder›"'),
    # Which of two parts is the first to take its lease is chance.
    "epoch in a log": (r"\bepoch=\d+\b", "epoch=‹epoch›"),
    "epoch in metadata": (r"(\\\"epoch\\\"):\d+\b", r"\1:‹epoch›"),
    "epoch in a reply": (r"(\"epoch\"\n\s*\d+\)) \"\d+\"", r'\1 "‹epoch›"'),
    "digest": (r"\b[0-9a-f]{64}\b", "‹digest›"),
    "process that holds a lease": (r"\b[\w.-]+:\d+ \(epoch \d+\)", "‹host›:‹pid› (epoch ‹epoch›)"),
    "process that was heard of": (r"\b[\w.-]+:\d+ was heard of -?\d+ ms ago", "‹host›:‹pid› was heard of ‹n› ms ago"),
    "lateness in a table": (r"\b\d+\.\d{3}(?= +│)", "‹ms›"),
    # As wide as what differs.
    "width of a column": (r"[━─]{3,}| +(?=[┃│])", " "),
}
"""Name of what differs: its form, and what stands for it in a comparison."""

SHOWN_FOLDER: Final = "/srv/flows"
"""How pages call the folder that their commands are run in."""

_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")


def steady(text: str) -> str:
    """The text with everything replaced that differs from run to run; blanks at line ends are left out."""
    for form, replacement in RULES.values():
        text = re.sub(form, replacement, text)
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def as_shown(text: str, folder: str, server: str) -> str:
    """What a command printed, as a page may show it: no colours, and no names of this machine's."""
    text = _STYLE.sub("", text).replace("\r\n", "\n")
    return text.replace(folder, SHOWN_FOLDER).replace(server, "127.0.0.1:6379")
