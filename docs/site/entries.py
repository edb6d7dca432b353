"""What a docstring says of a loss, part by part, read by griffe and written as Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import griffe

from docs.site import formulas
from docs.site.catalog import ROOT, path_of
from tests.losses.families import rows
from tests.support.docstrings import to_markdown

# a paragraph that begins with the name of a part of its own
_REMARK = re.compile(r"^\*\*(Gradient|Limits|Use when|References)\.\*\* ")
OPTIONS = {"returns_multiple_items": False, "warn_missing_types": False}


@dataclass(frozen=True)
class Argument:
    name: str
    default: str | None
    text: str


@dataclass(frozen=True)
class Entry:
    name: str
    summary: str
    introduction: str  # with the formula
    arguments: list[Argument]
    returns: str
    raises: list[tuple[str, str]]
    behaviour: str
    limits: str
    references: str
    example: str


@cache
def _package() -> griffe.Object:
    return griffe.load("mlc_losses", search_paths=[str(ROOT)])


def _link(name: str) -> str:
    """Losses lead to their page in the gallery, all else to the reference."""
    if name in rows():
        return f"[`{name}`]({name}.md)"
    path = path_of(name)
    return f"[`{path.rpartition('.')[2]}`][{path}]"


@cache
def entry(name: str) -> Entry:
    found = _package()[name].final_target
    text = to_markdown(found.docstring.value, _link, formulas.inline, formulas.display)
    read = griffe.Docstring(text, parent=found).parse("google", **OPTIONS)
    parts = {section.kind.value: section.value for section in read}
    texts = [section.value for section in read if section.kind.value == "text"]
    summary, _, introduction = texts[0].partition("\n\n")
    notes = _by_remark("\n\n".join(texts[1:]))
    return Entry(
        name,
        _joined(summary),
        introduction,
        [Argument(a.name, a.default, _joined(a.description)) for a in parts["parameters"]],
        _joined(parts["returns"][0].description),
        [(str(error.annotation), _joined(error.description)) for error in parts["raises"]],
        "\n\n".join(notes.get(part, "") for part in ("Gradient", "")).strip(),
        notes.get("Limits", ""),
        notes.get("References", ""),
        parts["examples"][0][1],
    )


def _by_remark(text: str) -> dict[str, str]:
    """The paragraphs after the sections, by the part that they begin; "" for the others."""
    found: dict[str, list[str]] = {}
    for paragraph in filter(None, text.split("\n\n")):
        remark = _REMARK.match(paragraph)
        part = remark[1] if remark else ""
        found.setdefault(part, []).append(_REMARK.sub("", paragraph))
    return {part: "\n\n".join(paragraphs) for part, paragraphs in found.items()}


def _joined(text: str) -> str:
    return " ".join(text.split())
