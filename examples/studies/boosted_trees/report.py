"""What the study reports: tables, and the figure of paired differences."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np

from examples.report import LOWER_IS_BETTER
from examples.studies.common.figures import new_figure, png
from examples.studies.common.statistics import LEVEL, holm, paired_p
from examples.studies.common.tables import Records, Table, cell, distinct

METRICS = ("micro-F1", "macro-F1", "subset accuracy", "Hamming loss", "ranking loss")
DECISIONS = {"test at 0": "decided at 0", "test": "one threshold tuned on validation rows"}
OURS, RIVAL = "zlpr", "binary:logistic"
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


class Difference(NamedTuple):
    """zlpr minus binary:logistic in one metric on one data set, one number for each seed."""

    data: str
    strategy: str
    metric: str
    values: np.ndarray
    p: float  # corrected by Holm's method over the data sets; NaN for a single seed


def groups(records: Records) -> dict[tuple[str, str], list[str]]:
    """Each data set with each strategy, and the cells that name it; one strategy needs no name."""
    names, strategies = distinct(records, "data"), distinct(records, "strategy")
    several = len(strategies) > 1
    return {
        (data, strategy): [data, strategy] if several else [data]
        for data, strategy in itertools.product(names, strategies)
    }


def group_columns(records: Records) -> list[str]:
    return ["data", "trees"][: len(next(iter(groups(records).values())))]


def numbers(
    records: Records, data: str, strategy: str, objective: str, part: str, metric: str
) -> np.ndarray:
    """One number for each seed."""
    about = {"data": data, "strategy": strategy, "objective": objective}
    return np.array([r[part][metric] for r in records if about.items() <= r.items()])


def differences(records: Records, part: str) -> list[Difference]:
    names, found = distinct(records, "data"), []
    for strategy, metric in itertools.product(distinct(records, "strategy"), METRICS):
        gaps = [
            numbers(records, data, strategy, OURS, part, metric)
            - numbers(records, data, strategy, RIVAL, part, metric)
            for data in names
        ]
        several = len(gaps[0]) > 1
        ps = holm([paired_p(gap) for gap in gaps]) if several else [np.nan] * len(gaps)
        found += [
            Difference(data, strategy, metric, gap, p)
            for data, gap, p in zip(names, gaps, ps, strict=True)
        ]
    return found


def tables(records: Records, costs: Records) -> list[Table]:
    result = []
    for part, words in DECISIONS.items():
        result += [quality_table(records, part, words), difference_table(records, part, words)]
    return [*result, choice_table(records), cost_table(costs)]


def heads() -> list[str]:
    return [f"{m} {'↓' if m in LOWER_IS_BETTER else '↑'}" for m in METRICS]


def quality_table(records: Records, part: str, words: str) -> Table:
    rows = []
    for (data, strategy), group in groups(records).items():
        values = {
            (name, metric): numbers(records, data, strategy, name, part, metric)
            for name in (RIVAL, OURS)
            for metric in METRICS
        }
        for name in (RIVAL, OURS):
            cells = []
            for metric in METRICS:
                pick = min if metric in LOWER_IS_BETTER else max
                best = pick(values[other, metric].mean() for other in (RIVAL, OURS))
                own = values[name, metric]
                cells.append(cell(own, metric, own.mean() == best))
            rows.append([*group, f"`{name}`", *cells])
    return Table(f"Test split, {words}", [*group_columns(records), "objective", *heads()], rows)


def difference_table(records: Records, part: str, words: str) -> Table:
    found = differences(records, part)
    clear = sum(one.p < LEVEL for one in found)
    words = f"{words}; bold where p < {LEVEL}, {clear} of {len(found)}"
    rows = []
    for (data, strategy), group in groups(records).items():
        cells = []
        for one in found:
            if (one.data, one.strategy) == (data, strategy):
                text = f"{one.values.mean():+.4f}"
                if len(one.values) > 1:
                    text += f" ± {one.values.std(ddof=1):.4f} (p {one.p:.2g})"
                cells.append(f"**{text}**" if one.p < LEVEL else text)
        rows.append([*group, *cells])
    return Table(f"`{OURS}` minus `{RIVAL}`, {words}", [*group_columns(records), *heads()], rows)


def choice_table(records: Records) -> Table:
    """What validation chose, seed by seed, and what the search cost."""
    rows = []
    for ((data, strategy), group), name in itertools.product(
        groups(records).items(), (RIVAL, OURS)
    ):
        about = {"data": data, "strategy": strategy, "objective": name}
        own = [r for r in records if about.items() <= r.items()]
        chosen = [", ".join(str(r["setting"][key]) for r in own) for key in own[0]["setting"]]
        rows.append(
            [
                *(*group, f"`{name}`", *chosen),
                ", ".join(str(r["rounds"]) for r in own),
                ", ".join(f"{r['threshold']:.2f}" for r in own),
                f"{np.mean([r['all rounds'] for r in own]):.0f}",
                f"{np.mean([r['seconds'] for r in own]):.1f}",
            ]
        )
    columns = [*group_columns(records), "objective", *own[0]["setting"], "rounds", "threshold"]
    columns += ["rounds of the whole search", "seconds of it"]
    return Table("What was chosen, for each seed, and the cost of the search", columns, rows)


def cost_table(costs: Records) -> Table:
    names = [name for name in costs[0] if name not in ("data", "rows", "labels")]
    rows = [
        [cost["data"], str(cost["rows"]), str(cost["labels"])]
        + [f"{1e3 * cost[name]:.3g}" for name in names]
        for cost in costs
    ]
    heads = [f"{name} [ms]" for name in names]
    return Table("What one round is made of", ["data", "rows", "labels", *heads], rows)


def difference_figure(records: Records) -> bytes:
    """A PNG: for each decision the paired differences, to the right where zlpr is better."""
    found = groups(records)
    figure = new_figure(figsize=(10, 0.9 + 0.75 * len(METRICS)), dpi=120)
    title = f"zlpr against {RIVAL}, test split: right of 0 zlpr is better; filled: p < {LEVEL}"
    figure.suptitle(title, size=11)
    all_axes = figure.subplots(1, len(DECISIONS), sharex=True, sharey=True)
    for axes, (part, words) in zip(all_axes, DECISIONS.items(), strict=True):
        for one in differences(records, part):
            group = list(found).index((one.data, one.strategy))
            place = METRICS.index(one.metric) + 0.7 * ((group + 0.5) / len(found) - 0.5)
            gain = -one.values if one.metric in LOWER_IS_BETTER else one.values
            color = COLORS[group % len(COLORS)]
            label = ", ".join(found[one.data, one.strategy]) if place < 0.5 else None
            axes.plot(gain, [place] * len(gain), ".", color=color, alpha=0.5, label=label)
            axes.plot(
                gain.mean(),
                place,
                "o",
                color=color,
                mfc=color if one.p < LEVEL else "white",
            )
        axes.axvline(0, color="0.5", lw=1)
        axes.set_title(words, size=10)
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    all_axes[0].set_yticks(range(len(METRICS)), METRICS)
    all_axes[0].invert_yaxis()
    figure.legend(
        *all_axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
    )
    return png(figure)
