"""The pages of the documentation, cut into fenced blocks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
PAGES: Final = (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))

_FENCE: Final = re.compile(r"^```(\S*)[ \t]*(.*)$")


class Block(Struct, frozen=True, kw_only=True):
    """``line`` is that of the opening fence, counted from 1; ``words`` are those behind the language."""

    page: Path
    line: int
    language: str
    words: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def option(self, name: str) -> str | None:
        """``VALUE`` of the word ``name=VALUE``."""
        return next((word.partition("=")[2] for word in self.words if word.startswith(f"{name}=")), None)


class Command(Struct, frozen=True, kw_only=True):
    """One command of a console block and what the page says that it prints; ``line`` is that of the command."""

    block: Block
    line: int
    text: str
    expected: str

    def __str__(self) -> str:
        return f"{self.block.page.name}:{self.line}: $ {self.text}"


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    blocks: list[Block] = []
    opened: re.Match[str] | None = None
    start, lines = 0, list[str]()
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if opened is None:
            opened = _FENCE.match(line)
            start, lines = number, []
        elif line == "```":
            words = tuple(opened[2].split())
            text = "".join(f"{line}\n" for line in lines)
            blocks.append(Block(page=page, line=start, language=opened[1], words=words, text=text))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page.name}:{start}: the block has no end"
    return blocks


def commands_of(block: Block) -> Iterator[Command]:
    """The commands of a console block; one that ends in a backslash goes on in the next line."""
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        first = at
        assert lines[at].startswith("$ "), f"{block.page.name}:{block.line + 1 + at}: this belongs to no command"
        while lines[at].endswith("\\"):
            at += 1
        command = "\n".join(lines[first : at + 1])[2:]
        at += 1
        output = at
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        expected = "".join(f"{line}\n" for line in lines[output:at])
        yield Command(block=block, line=block.line + 1 + first, text=command, expected=expected)
