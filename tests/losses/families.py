"""The losses by family, and what the docstring and the signature of each say of it."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import mlc_losses as ml
from tests.losses.names import LOSSES
from tests.support.docstrings import remark

# title, and the rooms under mlc_losses/ whose names it shows
FAMILIES = {
    "ZLPR": ("losses.zlpr",),
    "One label at a time": ("losses.binary", "losses.focal", "losses.asymmetric"),
    "Ranking of labels": ("losses.ranking", "losses.ranking_hinges", "losses.ranking_sets"),
    "Ranking of examples": ("losses.label_ranking",),
    "Labels in a hierarchy": ("losses.hierarchy",),
    "Set overlap over the batch": ("losses.overlap",),
    "Imbalanced labels": ("losses.imbalance", "losses.distribution_balanced"),
    "Label sets as classes or sequences": ("losses.powerset", "losses.sequence"),
    "One class per example": ("losses.softmax", "losses.softmax_sets"),
    "K guesses": ("losses.top_k", "losses.smooth_top_k"),
    "K guesses on average": ("losses.average_k",),
    "Few positives seen": ("losses.assume_negative", "losses.partial", "losses.partial_batch"),
    "Embeddings": (
        "losses.contrastive.supervised",
        "losses.contrastive.prototypes",
        "losses.contrastive.pair_weights",
        "losses.contrastive.key_queue",
        "losses.contrastive.metric_learning",
    ),
}
# "Su, Zhu, `ZLPR: A Novel Loss <https://...>`_, 2022": who, the title, where, when
_REFERENCE = re.compile(r"^(?P<who>[^`]*)`(?P<title>[^`<]+?)\s*<(?P<url>[^>]+)>`_(?P<rest>.*)")
# arguments that come with the targets
_WITH = {"embeddings": "embeddings", "prototypes": "prototypes", "hierarchy": "a `Hierarchy`"}


@dataclass(frozen=True)
class Row:
    """A loss in the table of docs/losses.md: what its docstring and its signature say."""

    name: str
    targets: str
    across_batch: str
    use_when: str
    paper: str


@cache
def rows() -> dict[str, Row]:
    """The losses, family by family, each family in the order of its files."""
    order = {f"mlc_losses.{room}": {} for rooms in FAMILIES.values() for room in rooms}
    for room in order:
        defined = [name for name, value in vars(import_module(room)).items() if name in LOSSES]
        order[room] = [name for name in defined if module_of(name) == room]
    found = [name for names in order.values() for name in names]
    if missing := sorted(LOSSES.difference(found)):
        raise ValueError(f"add the files of {', '.join(missing)} to FAMILIES in {__file__}")
    return {name: _row(name) for name in found}


def _row(name: str) -> Row:
    text = inspect.getdoc(getattr(ml, name)) or ""
    summary, _, _ = text.partition("\n\n")
    summary = " ".join(summary.split())
    use_when = remark(text, "Use when")
    if not use_when:
        raise ValueError(f"the docstring of {name} has no paragraph `Use when: ...`")
    return Row(
        name, _targets(name, summary), _across_batch(text, summary), _code(use_when), _paper(text)
    )


def _targets(name: str, summary: str) -> str:
    """What the first line says behind its last semicolon."""
    _, found, targets = summary.rstrip(".").rpartition("; ")
    if not found:
        raise ValueError(f"the first line of {name} does not end in `; <format of the targets>.`")
    given = inspect.signature(getattr(ml, name)).parameters
    targets = re.sub(r"^targets (are )?", "", targets).replace("multi-hot targets", "multi-hot")
    targets = targets.removesuffix(" in {0, 1}")  # as all that are not said to be soft
    extra = [words for argument, words in _WITH.items() if argument in given]
    return f"{targets}, with {' and '.join(extra)}" if extra else targets


def _across_batch(text: str, summary: str) -> str:
    """With the shape of the result, which its docstring gives first."""
    if "across the batch" not in summary:
        return "no"
    shape = re.search(r"^Returns:\n\s+(?:``(\[[^`]*\])``|(a scalar))", text, re.MULTILINE)
    if shape is None:
        raise ValueError(f"Returns does not begin with a shape: {text}")
    return f"yes, `{shape[1]}`" if shape[1] else "yes, a scalar"


def _paper(text: str) -> str:
    """Links by first author and year."""
    links = []
    for reference in remark(text, "References").split("; "):
        if found := _REFERENCE.match(reference):
            author = re.split(r",| et al", found["who"])[0].strip()
            year = re.search(r"\b(?:19|20)\d\d\b", found["rest"])
            named = f"{author} {year[0]}" if author and year else found["title"]
            if author or not links:  # not further pages by the same author
                links.append(f"[{named}]({found['url'].replace(' ', '')})")
    return ", ".join(links)


def _code(text: str) -> str:
    return re.sub(r":func:`([^`]+)`|``([^`]+)``", r"`\1\2`", text).rstrip(".")


def module_of(name: str) -> str:
    """The module that defines a public name."""
    value = getattr(ml, name)
    return value.__name__ if inspect.ismodule(value) else value.__module__
