"""What a run reports: metrics, their table, and the figure of learning curves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from mlc_losses import metrics

LOWER_IS_BETTER = {"Hamming loss", "ranking loss", "one-error", "coverage error"}


def all_metrics(
    scores: np.ndarray, predictions: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """Every metric of the table; precision@k and nDCG@k where there are k labels."""
    of_sets = {
        "subset accuracy": metrics.subset_accuracy(predictions, targets),
        "Hamming loss": metrics.hamming_loss(predictions, targets),
        "micro-F1": metrics.f1_score(predictions, targets, average="micro"),
        "macro-F1": metrics.f1_score(predictions, targets, average="macro"),
        "samples-F1": metrics.f1_score(predictions, targets, average="samples"),
    }
    of_rankings = {
        "ranking loss": metrics.ranking_loss(scores, targets),
        "one-error": metrics.one_error(scores, targets),
        "coverage error": metrics.coverage_error(scores, targets),
        "LRAP": metrics.label_ranking_average_precision(scores, targets),
        "macro average precision": metrics.average_precision(scores, targets, average="macro"),
    }
    labels = targets.shape[1]
    at_k = {f"P@{k}": metrics.precision_at_k(scores, targets, k) for k in (1, 3, 5) if k <= labels}
    if labels >= 5:
        at_k["nDCG@5"] = metrics.ndcg_at_k(scores, targets, 5)
    return {name: float(value) for name, value in (of_sets | of_rankings | at_k).items()}


def metrics_table(columns: Mapping[str, Mapping[str, float]], title: str) -> Table:
    """One row per metric, one column per model; the best value of a row is bold."""
    table = Table(title=title)
    table.add_column("metric")
    for name in columns:
        table.add_column(name, justify="right")
    for metric in next(iter(columns.values())):
        lower = metric in LOWER_IS_BETTER
        values = [column[metric] for column in columns.values()]
        best = min(values) if lower else max(values)
        mark = len(values) > 1
        cells = [f"[bold]{v:.4f}[/bold]" if mark and v == best else f"{v:.4f}" for v in values]
        table.add_row(f"{metric} {'↓' if lower else '↑'}", *cells)
    return table


def learning_curves(runs: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """A PNG: training loss, and validation micro-F1, by epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9.5, 3.9), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for index, run in enumerate(runs):
        epochs = range(1, len(run["train_loss"]) + 1)
        color = f"C{index}"
        left.plot(epochs, run["train_loss"], color=color, label=run["loss"])
        if run["validation_micro_f1"]:
            right.plot(epochs, run["validation_micro_f1"], color=color, label=run["loss"])
    left.set(title="Training (each loss has a scale of its own)", ylabel="mean loss per example")
    left.set_ylim(bottom=0)
    right.set(title="Validation part", ylabel="micro-F1")
    if not right.lines:
        right.text(0.5, 0.5, "no validation part", ha="center", transform=right.transAxes)
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
