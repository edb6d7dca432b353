"""What there is to show: the public names by family, and what the table of losses says of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from inspect import ismodule
from pathlib import Path

import mlc_losses as ml

ROOT = Path(__file__).parents[2]

# title, and the rooms under mlc_losses/ whose names it shows
FAMILIES = {
    "ZLPR": ("losses.zlpr",),
    "One label at a time": ("losses.binary",),
    "Ranking of labels": ("losses.ranking", "losses.ranking_sets"),
    "Ranking of examples": ("losses.label_ranking",),
    "Labels in a hierarchy": ("losses.hierarchy",),
    "Set overlap over the batch": ("losses.overlap",),
    "Imbalanced labels": ("losses.imbalance",),
    "Label sets as classes or sequences": ("losses.powerset", "losses.sequence"),
    "One class per example": ("losses.softmax", "losses.softmax_sets"),
    "K guesses": ("losses.top_k",),
    "K guesses on average": ("losses.average_k",),
    "Few positives seen": ("losses.partial", "losses.partial_batch"),
    "Embeddings": (
        "losses.contrastive.supervised",
        "losses.contrastive.prototypes",
        "losses.contrastive.pair_weights",
        "losses.contrastive.key_queue",
        "losses.contrastive.metric_learning",
    ),
}
TOOLS = {
    "Targets": ("targets",),
    "Decisions": (
        "decide.sets",
        "decide.expected_f",
        "decide.thresholds",
        "decide.conformal",
        "decide.temperature",
    ),
    "Perturbed top-k": ("perturbed.operator",),
    "Many labels, several devices": (
        "scale.linear",
        "scale.label_blocks",
        "scale.predict",
        "scale.sharded",
    ),
}
_ROW = re.compile(r"^\| `(?P<name>\w+)` \|(?P<cells>.*)\|$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """A loss in the table of docs/losses.md."""

    name: str
    targets: str
    across_batch: str
    use_when: str
    paper: str


@cache
def rows() -> dict[str, Row]:
    """The losses, in the order of that table."""
    text = (ROOT / "docs" / "losses.md").read_text(encoding="utf-8")
    found = {}
    for row in _ROW.finditer(text):
        targets, across_batch, use_when, paper = map(str.strip, row["cells"].split("|"))
        if not use_when.startswith("the same"):
            before = row["name"]
        # alone on its page, a loss does not stand below the one that this refers to
        use_when = re.sub("^the same,?", f"as `{before}`,", use_when)
        found[row["name"]] = Row(row["name"], targets, across_batch, use_when, paper)
    return found


def names_in(rooms: tuple[str, ...]) -> list[str]:
    """Losses first, in the order of the table, then what stands beside them."""
    modules = [f"mlc_losses.{room}" for room in rooms]
    names = [name for module in modules for name in ml.__all__ if _module_of(name) == module]
    order = list(rows())
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _module_of(name: str) -> str:
    value = getattr(ml, name)
    return value.__name__ if ismodule(value) else value.__module__


def losses_in(rooms: tuple[str, ...]) -> list[str]:
    return [name for name in names_in(rooms) if name in rows()]


def check_complete() -> None:
    """Every public name is in a family or among the tools."""
    shown = {name for rooms in (FAMILIES | TOOLS).values() for name in names_in(rooms)}
    missing = sorted(set(ml.__all__) - shown - {"metrics"})
    if missing:
        raise ValueError(
            f"docs/site/catalog.py must name the rooms of {', '.join(missing)} in FAMILIES or TOOLS"
        )


def path_of(name: str) -> str:
    """The dotted path of a public name, wherever it is public."""
    short = name.removeprefix("mlc_losses.").removeprefix("metrics.")
    if short in ml.__all__:
        return f"mlc_losses.{short}"
    if short in ml.metrics.__all__:
        return f"mlc_losses.metrics.{short}"
    raise ValueError(f"a docstring names {name!r}, which is not a public name")


def slug(title: str) -> str:
    return re.sub(r"\W+", "_", title.lower()).strip("_")
