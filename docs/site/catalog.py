"""What there is to show: every public name, by family."""

from __future__ import annotations

import re
from pathlib import Path

import mlc_losses as ml
from tests.losses.families import FAMILIES, module_of, rows

ROOT = Path(__file__).parents[2]

# title, and the rooms under mlc_losses/ whose names it shows
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


def names_in(rooms: tuple[str, ...]) -> list[str]:
    """Losses first, in the order of the table, then what stands beside them."""
    modules = [f"mlc_losses.{room}" for room in rooms]
    names = [name for module in modules for name in ml.__all__ if module_of(name) == module]
    order = list(rows())
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def losses_in(rooms: tuple[str, ...]) -> list[str]:
    return [name for name in names_in(rooms) if name in rows()]


def check_complete() -> None:
    """Every public name is in a family or among the tools."""
    shown = {name for rooms in (FAMILIES | TOOLS).values() for name in names_in(rooms)}
    missing = sorted(set(ml.__all__) - shown - {"metrics"})
    if missing:
        raise ValueError(
            f"the rooms of {', '.join(missing)} must be in TOOLS, or in FAMILIES, "
            "which is in tests/losses/families.py"
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
