"""What the study reports: ranks, tables with mean and spread over seeds, the figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from examples.studies.common.figures import new_figure, png
from examples.studies.common.ranks import (
    critical_difference,
    metric_names,
    metric_table,
    ordered,
    rank_table,
    rates_table,
    values,
)
from examples.studies.common.tables import Records, Table, cell, distinct

SETS = ("subset accuracy", "Hamming loss", "micro-F1", "macro-F1", "samples-F1")


def zero_table(records: Records, decided: Sequence[str]) -> Table:
    """Micro-F1 at 0, and what the tuned threshold adds."""
    names = distinct(records, "data")
    rows = []
    for loss in [a for a in ordered(records)[0] if a in decided]:
        cells = []
        for data in names:
            at_zero = values(records, data, loss, "micro-F1", "test at 0")
            gain = values(records, data, loss, "micro-F1") - at_zero
            cells.append(f"{cell(at_zero, 'micro-F1')} ({gain.mean():+.4f})")
        rows.append([f"`{loss}`", *cells])
    title = "Micro-F1 at threshold 0 (and the change by the tuned threshold)"
    return Table(title, ["loss", *names], rows)


def rank_title(records: Records) -> str:
    losses, names = distinct(records, "loss"), distinct(records, "data")
    title = "Mean rank over the metrics"
    if len(losses) < 2:
        return title
    limit = critical_difference(len(losses), len(names))
    return f"{title} (for one metric, Nemenyi's critical difference at 5 % is {limit:.1f})"


def tables(records: Records, decided: Sequence[str], rates: Sequence[float]) -> list[Table]:
    metrics = metric_names(records)
    result = [rank_table(records, rank_title(records))]
    if zero := [loss for loss in decided if loss in distinct(records, "loss")]:
        result.append(zero_table(records, zero))
    for data in distinct(records, "data"):
        sets = [m for m in metrics if m in SETS]
        rankings = [m for m in metrics if m not in SETS]
        result.append(metric_table(records, data, sets, "label sets, tuned threshold"))
        result.append(metric_table(records, data, rankings, "rankings"))
    return [*result, rates_table(records, rates)]


def rank_figure(records: Records) -> bytes:
    """A PNG of two heat maps: the mean rank by metric, and by data set."""
    losses, ranks = ordered(records)
    names, metrics = distinct(records, "data"), metric_names(records)
    overall = ranks.mean(axis=(1, 2))[:, None]
    sets = [m in SETS for m in metrics]
    by_metric = ranks.mean(axis=1)
    panels = [
        ("all", overall, [""]),
        ("label sets", by_metric[:, sets], [m for m in metrics if m in SETS]),
        ("rankings", by_metric[:, ~np.array(sets)], [m for m in metrics if m not in SETS]),
        ("data sets", ranks.mean(axis=2), names),
    ]
    widths = [panel[1].shape[1] for panel in panels]
    figure = new_figure(figsize=(3.6 + 0.55 * sum(widths), 1.9 + 0.32 * len(losses)), dpi=100)
    figure.suptitle(f"Mean rank of {len(losses)} losses (1 = best, dark), test split")
    axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
    for ax, (title, grid, labels) in zip(axes, panels, strict=True):
        ax.imshow(grid, cmap="YlGnBu_r", vmin=1, vmax=max(2, len(losses)), aspect="auto")
        for (row, column), value in np.ndenumerate(grid):
            color = "white" if value < 0.5 * len(losses) else "black"
            ax.text(column, row, f"{value:.1f}", ha="center", va="center", color=color, size=8)
        ax.set_title(title, size=10)
        short = [label.replace("average precision", "AP") for label in labels]
        ax.set_xticks(range(len(labels)), short, rotation=50, ha="right", size=9)
        ax.set_yticks(range(len(losses)), [""] * len(losses))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    axes[0].set_yticks(range(len(losses)), losses, size=9)
    for tick, loss in zip(axes[0].get_yticklabels(), losses, strict=True):
        tick.set_fontweight("bold" if loss == "zlpr" else "normal")
    return png(figure)
