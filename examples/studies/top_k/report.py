"""What the study reports: tables with mean and spread over seeds, paired tests, the figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from examples.studies.common.figures import new_figure, png
from examples.studies.common.judging import FEWEST_SEEDS, judged_gap
from examples.studies.common.tables import Table, distinct

Records = Sequence[Mapping[str, Any]]
NOISED = ("noised", "noised, exact", "noised, imbalanced")
BASELINES = ("cross-entropy", "focal", "LDAM", "balanced softmax", "smooth hinge")
BINS = ("few", "medium", "many")
WHAT = {"accuracy": "top-K accuracy", "class mean": "top-K accuracy, mean over classes"}


def values(records: Records, data: str, loss: str, trained: int, k: int, metric: str) -> np.ndarray:
    """One number per seed, in the order of seeds, with k guesses by networks trained for `trained`.

    A loss without K was trained once for all of them. NaN where the training diverged or the data
    have no such metric.
    """
    found = [r for r in records if r["data"] == data and r["loss"] == loss]
    found = [r for r in found if r["k"] == trained or not r["uses_k"]]
    found = sorted(found, key=lambda record: record["seed"])
    return np.array([r["test"].get(str(k), {}).get(metric, np.nan) for r in found])


def criterion(records: Records, data: str) -> str:
    return next(r["criterion"] for r in records if r["data"] == data)


def main_k(records: Records, data: str) -> int:
    """The K of the search: 5, or with few classes the largest there is."""
    return min(5, max(r["k"] for r in records if r["data"] == data))


def short(data: str) -> str:
    return data.replace("_lang_char3hash4096", "").replace("_small28", "")


def highest(rows: Iterable[np.ndarray]) -> float:
    """The best mean, as it is printed."""
    return max((round(float(row.mean()), 3) for row in rows if np.isfinite(row).any()), default=0.0)


def cell(numbers: np.ndarray, best: float) -> str:
    if not np.isfinite(numbers).any():
        return "-"
    mean = round(float(numbers.mean()), 3)
    text = f"**{mean:.3f}**" if mean == best else f"{mean:.3f}"
    return text if numbers.size < 2 else f"{text} ± {numbers.std(ddof=1):.3f}"


def setting_text(record: Mapping[str, Any]) -> str:
    rate, decay, own = record["setting"]
    numbers = ", ".join(f"{v:g}" for v in own) if own else f"decay {decay:g}"
    return f"{rate:g}; {numbers}"


def data_table(records: Records, data: str) -> Table:
    """All losses at the K of the search."""
    k = main_k(records, data)
    chosen = [r for r in records if r["data"] == data and r["k"] == k]
    losses = distinct(chosen, "loss")
    columns = [(1, "accuracy"), (k, "accuracy"), (k, "class mean"), *((k, b) for b in BINS)]
    grid = {(a, c): values(chosen, data, a, k, *c) for a in losses for c in columns}
    columns = [c for c in columns if any(np.isfinite(grid[a, c]).any() for a in losses)]
    best = {c: highest(grid[a, c] for a in losses) for c in columns}
    rows = []
    for a in losses:
        one = next(r for r in chosen if r["loss"] == a)
        cells = [cell(grid[a, c], best[c]) for c in columns]
        seconds = min(r["seconds"] for r in chosen if r["loss"] == a)
        rows.append([a, *cells, setting_text(one), f"{seconds:.2g}"])
    heads = {"accuracy": "", "class mean": ", class mean"}
    names = [f"top-{j}{heads.get(m, f', {m}')}" for j, m in columns]
    title = f"{short(data)}: trained for K = {k}"
    return Table(title, ["loss", *names, "rate; own numbers", "seconds"], rows)


def k_table(records: Records, data: str) -> Table:
    """The criterion at each K, by the losses trained for that K."""
    metric = criterion(records, data)
    chosen = [r for r in records if r["data"] == data]
    losses = distinct(chosen, "loss")
    ks = sorted(set(distinct(chosen, "k")))
    grid = {(a, k): values(chosen, data, a, k, k, metric) for a in losses for k in ks}
    # as many seeds for every loss that has any
    seeds = {k: min(len(grid[a, k]) for a in losses if len(grid[a, k])) for k in ks}
    grid = {(a, k): numbers[: seeds[k]] for (a, k), numbers in grid.items()}
    best = {k: highest(grid[a, k] for a in losses) for k in ks}
    rows = [[a, *(cell(grid[a, k], best[k]) for k in ks)] for a in losses]
    counts = ", ".join(f"{seeds[k]} at K = {k}" for k in ks)
    title = f"{short(data)}: {WHAT[metric]}, K of training and test alike (seeds: {counts})"
    return Table(title, ["loss", *(f"K = {k}" for k in ks)], rows)


def paired_table(records: Records) -> Table:
    """Mean difference of the noised losses to others over the same seeds, judged by the one rule.

    Bold where the probability of better, equivalent or worse is 0.95 or more.
    """
    gaps = {}
    for data in distinct(records, "data"):
        k, metric = main_k(records, data), criterion(records, data)
        for ours in NOISED:
            for other in BASELINES:
                a, b = (values(records, data, loss, k, k, metric) for loss in (ours, other))
                both = min(len(a), len(b))  # seeds are in order, and all start at 0
                gap = a[:both] - b[:both]
                if both >= FEWEST_SEEDS and np.isfinite(gap).all():
                    gaps[data, ours, other] = gap
    others = [b for b in BASELINES if any(key[2] == b for key in gaps)]

    def text(key: tuple[str, str, str]) -> str:
        return judged_gap(gaps[key]) if key in gaps else "-"

    rows = [
        [short(data), criterion(records, data), ours, *(text((data, ours, b)) for b in others)]
        for data in distinct(records, "data")
        for ours in NOISED
        if any((data, ours, b) in gaps for b in others)
    ]
    title = (
        "Noised losses minus others at the K of the search, in points (probability of better, "
        "equivalent and worse in percent)"
    )
    return Table(title, ["data", "metric", "loss", *(f"to {b}" for b in others)], rows)


def tables(records: Records) -> list[Table]:
    names = distinct(records, "data")
    paired = paired_table(records)
    return [
        *([paired] if paired.rows else []),
        *(data_table(records, data) for data in names),
        *(k_table(records, data) for data in names),
    ]


def figure_of(records: Records) -> bytes:
    """A PNG: the criterion of each loss on each data set, with its spread over seeds."""
    names, losses = distinct(records, "data"), distinct(records, "loss")
    figure = new_figure(figsize=(2.2 + 2.2 * len(names), 1.4 + 0.26 * len(losses)), dpi=120)
    axes = figure.subplots(1, len(names), squeeze=False, sharey=True)[0]
    for ax, data in zip(axes, names, strict=True):
        k, metric = main_k(records, data), criterion(records, data)
        for place, loss in enumerate(losses):
            numbers = values(records, data, loss, k, k, metric)
            if numbers.size:
                spread = numbers.std(ddof=1) if numbers.size > 1 else 0.0
                color = "C1" if loss in NOISED else "C0"
                ax.errorbar(numbers.mean(), place, xerr=spread, fmt="o", color=color, ms=4)
        what = " class mean" if metric == "class mean" else ""
        ax.set_title(f"{short(data)}\ntop-{k}{what}", size=9)
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(losses)), losses, size=8)
    axes[0].invert_yaxis()
    return png(figure)
