"""The file llms.txt of the site: its pages, each with a line, for programs that read text.

The format is that of https://llmstxt.org: a title, a paragraph, and sections with links.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

_LINK = re.compile(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])")
_REFERENCE = re.compile(r"^::: \S*?(\w+)$", re.MULTILINE)
# what is no paragraph of prose: headings, lists, tables, HTML, code, images, definitions
_NO_PROSE = ("#", "- ", "|", "<", "```", "!", ":", "~", "[**", "    ")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z`\[*])")


class Entry(NamedTuple):
    section: str
    title: str
    url: str
    line: str


def line_of(markdown: str) -> str:
    """The first sentence of a page; of a page of the reference, its names."""
    for block in re.split(r"\n\s*\n", markdown.strip()):
        if block.strip() and not block.lstrip("\n").startswith(_NO_PROSE):
            text = " ".join(_LINK.sub(r"\1", block).replace("**", "").split())
            return _SENTENCE.split(text)[0]
    return ", ".join(_REFERENCE.findall(markdown))


def text(title: str, paragraph: str, entries: Iterable[Entry]) -> str:
    sections: dict[str, list[str]] = {}
    for entry in entries:
        line = f": {entry.line}" if entry.line else ""
        sections.setdefault(entry.section, []).append(f"- [{entry.title}]({entry.url}){line}")
    parts = [f"# {title}", f"> {paragraph}"]
    for name, lines in sections.items():
        parts += [f"## {name}", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"
