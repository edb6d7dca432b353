"""What the study reports: costs and quality of each method, and the costs as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.report import LOWER_IS_BETTER
from examples.studies.common.choice_table import choice_table
from examples.studies.common.figures import new_figure, png
from examples.studies.common.tables import Records, Table, cell

METHODS = ("zlpr", "powerset, likeliest set", "powerset, marginals")
METRICS = ("subset accuracy", "Hamming loss", "micro-F1", "macro-F1", "samples-F1", "ranking loss")
COSTS = {
    "epoch [ms]": ("epoch seconds", 1e3),
    "training memory [MiB]": ("training bytes", 2**-20),
    "parameters [1000]": ("parameters", 1e-3),
    "prediction [µs/row]": ("prediction seconds", 1e6),
}


def cost_rows(name: str, costs: dict[str, Any]) -> list[list[str]]:
    """One row per method, with the ratio to zlpr, which was measured in turns with it."""
    rows = []
    for method in METHODS:
        cells = []
        for field, factor in COSTS.values():
            ratio = costs[method][field] / costs["zlpr"][field]
            cells.append(f"{costs[method][field] * factor:.3g} ({ratio:.1f}x)")
        rows.append([name, f"{costs['sets']}", method, *cells])
    return rows


def quality_rows(results: Sequence[dict[str, Any]], name: str) -> list[list[str]]:
    sets = round(np.mean([result["sets"] for result in results]))
    unseen = np.mean([result["unseen"] for result in results])
    rows = []
    for method in METHODS:
        cells = [cell(np.array([r[method][m] for r in results]), m) for m in METRICS]
        rows.append([name, f"{sets}", f"{unseen:.1%}", method, *cells])
    return rows


def tables(measured: dict[str, dict[str, Any]]) -> list[Table]:
    costs, quality = measured["costs"].items(), measured["quality"].items()
    heads = [f"{m} {'↓' if m in LOWER_IS_BETTER else '↑'}" for m in METRICS]
    return [
        Table(
            "Costs",
            ["data", "label sets", "method", *COSTS],
            [row for name, cost in costs for row in cost_rows(name.split()[0], cost)],
        ),
        Table(
            "Quality on the test split",
            ["data", "sets to train on", "test rows with an unseen set", "method", *heads],
            [row for name, results in quality for row in quality_rows(results, name)],
        ),
        choice_table([(n, m, [r[m] for r in results]) for n, results in quality for m in METHODS]),
    ]


def cost_figure(
    costs: Records, methods: Sequence[str], fields: Mapping[str, tuple[str, float]], title: str
) -> bytes:
    """A PNG: each cost against the number of label sets. `fields`: title -> (field, factor)."""
    figure = new_figure(figsize=(11, 3.4), dpi=150)
    figure.suptitle(title)
    sets = [cost["sets"] for cost in costs]
    all_axes = figure.subplots(1, len(fields))
    for axes, (name, (field, factor)) in zip(all_axes, fields.items(), strict=True):
        drawn: list[list[float]] = []
        for index, method in enumerate(methods):
            line = [cost[method][field] * factor for cost in costs]
            if line not in drawn:  # two ways to decide share one model, and its costs
                axes.plot(sets, line, "os^"[index] + "-", color=f"C{index}", label=method, ms=4)
            drawn.append(line)
        axes.set(xscale="log", yscale="log", title=name, xlabel="distinct label sets")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[-1].legend(frameon=False, fontsize=8)
    return png(figure)
