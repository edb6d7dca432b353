"""Figures of the page: critical differences, and gains on each data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import scikit_posthocs
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from examples.studies.common.judging import Answer
from examples.studies.which_loss.statistics import Ranking


def critical_differences(rankings: Mapping[str, Ranking], path: Path) -> None:
    """One diagram for each metric; losses that a bar joins are not told apart."""
    rows = -(-len(rankings) // 2)
    figure = Figure(figsize=(14, 2.9 * rows), layout="constrained")
    for place, (title, found) in enumerate(rankings.items(), start=1):
        axes = figure.add_subplot(rows, 2, place)
        scikit_posthocs.critical_difference_diagram(found.ranks, found.pairs, ax=axes)
        axes.set_title(title)
    figure.savefig(path, dpi=100)


def verdicts(
    found: Mapping[str, Mapping[str, Answer]], gains: pd.DataFrame, baseline: str, path: Path
) -> None:
    """A cell for each loss and metric: its mean gain in points, in the colour of the answer."""
    figure = Figure(figsize=(11, 0.5 * len(gains) + 2), layout="constrained")
    axes = figure.subplots()
    colours = {"better": "#7fb0dc", "equivalent": "#d9d9d9", "worse": "#e58b7f"}
    for row, loss in enumerate(gains.index):
        for column, title in enumerate(gains.columns):
            colour = colours.get(found[title][loss].verdict, "white")
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="#999999"))
            text = f"{100 * gains.at[loss, title]:+.1f}"
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9)
    axes.set_xlim(0, gains.shape[1])
    axes.set_ylim(len(gains), 0)
    axes.set_xticks(
        [x + 0.5 for x in range(gains.shape[1])], gains.columns, rotation=30, ha="right"
    )
    axes.set_yticks([y + 0.5 for y in range(len(gains))], gains.index)
    axes.tick_params(length=0)
    axes.set_title(f"Against {baseline}: mean gain in points, positive is better")
    patches = [Patch(facecolor=colour, label=name) for name, colour in colours.items()]
    patches.append(Patch(facecolor="white", edgecolor="#999999", label="undecided"))
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    figure.savefig(path, dpi=100)


def differences(tables: Mapping[str, pd.DataFrame], path: Path) -> None:
    """A cell for each data set and loss: how many points it is ahead of cross-entropy."""
    baseline = "binary_cross_entropy"
    figure = Figure(figsize=(7 * len(tables), 6), layout="constrained")
    every = figure.subplots(1, len(tables), squeeze=False)[0]
    for axes, (title, table) in zip(every, tables.items(), strict=True):
        gains = 100 * table.sub(table[baseline], axis=0).drop(columns=baseline)
        image = axes.imshow(gains, cmap="RdBu", vmin=-10, vmax=10, aspect="auto")
        axes.set_xticks(range(gains.shape[1]), gains.columns, rotation=60, ha="right")
        axes.set_yticks(range(len(gains)), gains.index)
        for row, column in ((r, c) for r in range(len(gains)) for c in range(gains.shape[1])):
            number = gains.iat[row, column]
            colour = "white" if abs(number) > 6 else "black"
            axes.text(column, row, f"{number:+.1f}", ha="center", va="center", color=colour, size=7)
        axes.set_title(f"{title}: points ahead of {baseline}")
    figure.colorbar(image, ax=list(every), shrink=0.6)
    figure.savefig(path, dpi=100)
