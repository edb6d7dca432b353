"""What the study reports: tables, the metrics as a figure, embeddings as another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from examples.report import LOWER_IS_BETTER
from examples.studies.common.figures import new_figure, png
from examples.studies.common.ranks import metric_table, ordered, rank_table, rates_table, values
from examples.studies.common.tables import Records, Table, distinct

# the study's names, and those of `report.all_metrics`
METRICS = {
    "micro-F1": "micro-F1",
    "macro-F1": "macro-F1",
    "Hamming loss": "Hamming loss",
    "mAP": "macro average precision",
    "ranking loss": "ranking loss",
}
COLOURS = 8  # label sets that get one of their own


def tables(records: Records, baseline: str) -> list[Table]:
    metrics = list(METRICS)
    result = [rank_table(records, "Mean rank over the five metrics", "method")]
    if baseline in distinct(records, "loss"):
        result += [gain_table(records, metric, baseline) for metric in ("macro-F1", "ranking loss")]
    names = distinct(records, "data")
    result += [metric_table(records, data, metrics, "test split") for data in names]
    return [*result, rates_table(records, sorted(distinct(records, "rate")))]


def gain_table(records: Records, metric: str, baseline: str) -> Table:
    """Differences to the baseline, seed by seed: both saw the same rows."""
    names = distinct(records, "data")
    rows = []
    for method in ordered(records)[0]:
        if method == baseline:
            continue
        cells = []
        for data in names:
            ours, theirs = (values(records, data, m, metric) for m in (method, baseline))
            seeds = min(len(ours), len(theirs))
            gains = ours[:seeds] - theirs[:seeds]
            spread = f" ± {gains.std(ddof=1):.4f}" if seeds > 1 else ""
            cells.append(f"{gains.mean():+.4f}{spread}")
        rows.append([f"`{method}`", *cells])
    better = "lower is better" if metric in LOWER_IS_BETTER else "higher is better"
    title = f"{metric}, difference to end-to-end `{baseline}` ({better})"
    return Table(title, ["method", *names], rows)


def metric_figure(records: Records, end_to_end: Sequence[str]) -> bytes:
    """A PNG: one panel for each data set and metric, one row of points for each method."""
    methods = distinct(records, "loss")[::-1]
    parts = [name.rpartition(", ") for name in distinct(records, "data")]
    data_names = list(dict.fromkeys(part[0] for part in parts))
    fractions = list(dict.fromkeys(part[2] for part in parts))
    figure = new_figure(
        figsize=(3.2 + 2.3 * len(METRICS), 0.9 + (0.7 + 0.19 * len(methods)) * len(data_names)),
        dpi=110,
    )
    figure.suptitle("Test split, mean and standard deviation over seeds, by share of training data")
    grid = figure.subplots(len(data_names), len(METRICS), squeeze=False, sharey=True)
    for axes_of_data, data in zip(grid, data_names, strict=True):
        for axes, metric in zip(axes_of_data, METRICS, strict=True):
            for index, fraction in enumerate(fractions):
                found = [values(records, f"{data}, {fraction}", m, metric) for m in methods]
                shift = 0.22 * (index - (len(fractions) - 1) / 2)
                axes.errorbar(
                    [v.mean() for v in found],
                    np.arange(len(methods)) - shift,
                    xerr=[v.std(ddof=1) if len(v) > 1 else 0 for v in found],
                    fmt="o",
                    ms=3,
                    lw=1,
                    color=f"C{index}",
                    label=fraction,
                )
            arrow = "↓" if metric in LOWER_IS_BETTER else "↑"
            axes.set_title(f"{data}: {metric} {arrow}" if metric == "micro-F1" else
                           f"{metric} {arrow}", size=9)  # fmt: skip
            axes.grid(axis="x", alpha=0.3)
            axes.tick_params(labelsize=8)
            axes.spines[["top", "right"]].set_visible(False)
        axes_of_data[0].set_yticks(range(len(methods)), methods, size=8)
        for tick, method in zip(axes_of_data[0].get_yticklabels(), methods, strict=True):
            tick.set_fontweight("bold" if method in end_to_end else "normal")
    where = {"loc": "lower left", "frameon": False}
    grid[0][0].legend(**where, fontsize=8, title="training data", title_fontsize=8)
    return png(figure)


def shown_rows(rows: int, count: int) -> np.ndarray:
    """Rows spread evenly over the file, which may be sorted by label."""
    return np.linspace(0, rows - 1, min(rows, count)).astype(int)


def set_names(targets: np.ndarray, count: int) -> tuple[list[str], list[str]]:
    """The label set of each of the rows shown, and the most frequent sets among them."""
    shown = targets[shown_rows(len(targets), count)]
    sets = ["+".join(map(str, np.nonzero(row)[0])) for row in shown]
    return sets, [name for name, _ in Counter(sets).most_common(COLOURS)]


def embedding_figure(records: Records, targets: Mapping[str, np.ndarray]) -> bytes:
    """A PNG: the test rows of each data set and method, coloured by label set."""
    methods, names = distinct(records, "loss"), distinct(records, "data")
    columns = min(len(methods), 6)
    lines = -(-len(methods) // columns)
    figure = new_figure(figsize=(2.1 * columns + 1.6, 0.6 + 2.2 * lines * len(names)), dpi=90)
    figure.suptitle(
        f"Frozen representations of test rows on two principal axes; the {COLOURS} most frequent "
        "label sets (label numbers) in colour"
    )
    grid = figure.subplots(lines * len(names), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, name in enumerate(names):
        for index, method in enumerate(methods):
            axes = grid[number * lines + index // columns, index % columns]
            points = projected(records, name, method)
            if points is None:
                continue
            sets, frequent = set_names(targets[name], len(points))
            chosen = [np.array([s == wanted for s in sets]) for wanted in frequent]
            rest = ~np.any(chosen, axis=0)
            axes.scatter(*points[rest].T, s=2, color="0.85")
            for colour, (wanted, mask) in enumerate(zip(frequent, chosen, strict=True)):
                axes.scatter(*points[mask].T, s=4, color=f"C{colour}", label=wanted or "none")
            axes.set_title(f"{name.partition(',')[0]}\n{method}", size=8)
        last = grid[number * lines, columns - 1]
        last.legend(
            *grid[number * lines, 0].get_legend_handles_labels(),
            loc="upper left",
            bbox_to_anchor=(1.02, 1),
            fontsize=7,
            markerscale=2,
            frameon=False,
        )
    return png(figure)


def projected(records: Records, data: str, method: str) -> Any:
    for record in records:
        if (record["data"], record["loss"]) == (data, method):
            return np.array(record["projection"])
    return None
