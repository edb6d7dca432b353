"""The part of a page that a program writes, between two comments."""

from __future__ import annotations

from pathlib import Path

from examples.files import write_whole


def marks(program: str) -> tuple[str, str]:
    """The comments between which a page holds the tables of a program."""
    return f"<!-- tables: {program} -->", "<!-- end of tables -->"


def replace_between(path: Path, start: str, end: str, content: str) -> None:
    """Put `content` between the lines `start` and `end` of a file."""
    before, _, rest = path.read_text(encoding="utf-8").partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{path} lacks the lines {start} and {end}")
    write_whole(path, f"{before}{start}\n\n{content}\n\n{end}{after}".encode())
