"""What the study reports: each metric by loss, ranks, paired tests, and the hinge beside AUROC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare

from examples.studies.common.figures import new_figure, png
from examples.studies.common.ranks import all_ranks, critical_difference, metric_names, values
from examples.studies.common.statistics import gap_cells
from examples.studies.common.tables import Records, Table, distinct

BASELINE = "binary_cross_entropy"


def short(data: str) -> str:
    return data.replace("21578_modapte90", "")


def metric_table(records: Records, place: int, metric: str) -> Table:
    """Means and standard deviations by data set, mean ranks below."""
    losses, names = distinct(records, "loss"), distinct(records, "data")
    rows = []
    for data in names:
        about = next(r for r in records if r["data"] == data)
        numbers = {a: values(records, data, a, metric) for a in losses}
        best = max(round(float(v.mean()), 3) for v in numbers.values())
        cells = []
        for v in numbers.values():
            mean = f"{v.mean():.3f}"
            mean = f"**{mean}**" if round(float(v.mean()), 3) == best else mean
            cells.append(mean if len(v) < 2 else f"{mean} ± {v.std(ddof=1):.3f}")
        rows.append([short(data), f"{about['labels']}", f"{about['positives']:.0f}", *cells])
    ranks = all_ranks(records)[:, :, place]
    rows.append(["mean rank", "", "", *(f"{r:.1f}" for r in ranks.mean(axis=1))])
    heads = ["labels", "positives (median)", *(f"`{a}`" for a in losses)]
    return Table(f"{metric} on test rows{friedman(ranks)}", ["data", *heads], rows)


def friedman(ranks: np.ndarray) -> str:
    """Whether the losses differ at all, and by how much two mean ranks must."""
    if min(ranks.shape) < 3:
        return ""
    p = friedmanchisquare(*ranks).pvalue
    shown = f"p {p:.3f}" if p >= 0.001 else "p < 0.001"
    difference = critical_difference(*ranks.shape)
    return f" (Friedman {shown}, critical difference of mean ranks {difference:.1f})"


def paired_table(records: Records, metric: str) -> Table:
    """Each loss minus cross-entropy in points, bold where it stands after Holm's correction."""
    losses, names = distinct(records, "loss"), distinct(records, "data")
    others = [a for a in losses if a != BASELINE]
    gaps = [
        values(records, data, a, metric) - values(records, data, BASELINE, metric)
        for data in names
        for a in others
    ]
    cells = np.array(gap_cells(gaps)).reshape(len(names), len(others)).tolist()
    rows = [[short(data), *own] for data, own in zip(names, cells, strict=True)]
    title = f"{metric}: minus `{BASELINE}` in points (p of a paired t-test over seeds)"
    return Table(title, ["data", *(f"`{a}`" for a in others)], rows)


def settings_table(records: Records) -> Table:
    losses, names = distinct(records, "loss"), distinct(records, "data")
    first = {(r["data"], r["loss"]): r for r in reversed(records)}

    def text(data: str, loss: str) -> str:
        rate, decay = first[data, loss]["setting"]
        own = first[data, loss]["own"].rpartition(" ")[2]
        return ", ".join([f"{rate:g}", f"{decay:g}", *([own] if own else [])])

    rows = [[short(data), *(text(data, a) for a in losses)] for data in names]
    title = "Settings chosen: learning rate, weight decay, own number"
    return Table(title, ["data", *(f"`{a}`" for a in losses)], rows)


def seconds_table(records: Records) -> Table:
    losses, names = distinct(records, "loss"), distinct(records, "data")
    first = {(r["data"], r["loss"]): r["seconds"] for r in reversed(records)}
    rows = [[short(d), *(f"{first[d, a]:.1f}" for a in losses)] for d in names]
    title = "Seconds of one core for search and training, compiling included"
    return Table(title, ["data", *(f"`{a}`" for a in losses)], rows)


def surrogate_table(cases: Records) -> Table:
    rows = []
    for case in cases:
        relevant, others = (
            ", ".join(f"{v:g}" for v in case[side]) for side in ("relevant", "others")
        )
        missed, hinge = f"{case['1 - AUROC']:.2f}", f"{case['pairwise_hinge']:.2f}"
        rows.append([case["scores"], relevant, others, missed, hinge])
    title = "The hinge is never below 1 - AUROC: four examples of one label"
    heads = ["case", "scores of the relevant", "scores of the others", "1 - AUROC", "hinge"]
    return Table(title, heads, rows)


def tables(records: Mapping[str, Any]) -> list[Table]:
    runs = records["runs"]
    names = metric_names(runs)
    result = [metric_table(runs, place, metric) for place, metric in enumerate(names)]
    losses = distinct(runs, "loss")
    if BASELINE in losses and len(losses) > 1:
        result += [paired_table(runs, metric) for metric in names]
    result += [surrogate_table(records["surrogate"]), settings_table(runs), seconds_table(runs)]
    return result


def figure_of(records: Records) -> bytes:
    """A PNG: each loss minus cross-entropy on each data set, one panel for each metric."""
    losses, names = distinct(records, "loss"), distinct(records, "data")
    others = [a for a in losses if a != BASELINE] if BASELINE in losses else losses
    metrics = metric_names(records)
    figure = new_figure(figsize=(11, 1.3 + 0.5 * len(names)), dpi=130)
    all_axes = figure.subplots(1, len(metrics), sharey=True)
    for axes, metric in zip(all_axes, metrics, strict=True):
        for place, data in enumerate(names):
            base = values(records, data, BASELINE, metric) if BASELINE in losses else 0.0
            for index, loss in enumerate(others):
                gap = 100 * (values(records, data, loss, metric) - base)
                spread = gap.std(ddof=1) if len(gap) > 1 else 0.0
                at = place + (index - (len(others) - 1) / 2) * 0.15
                axes.errorbar(
                    gap.mean(),
                    at,
                    xerr=spread,
                    fmt="os^Dv"[index % 5],
                    color=f"C{index}",
                    ms=4.5,
                    label=loss if place == 0 else None,
                )
        axes.axvline(0, color="0.5", lw=1)
        axes.set(title=metric, xlabel=f"points over {BASELINE}")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_yticks(range(len(names)), [short(name) for name in names])
    all_axes[0].invert_yaxis()
    # below both panels, so that it hides no dot
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return png(figure)
