"""The page of the study: tables, answers and what they depend on, from the records alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from examples.studies.which_loss import data_sets, losses
from examples.studies.which_loss.figures import critical_differences, differences
from examples.studies.which_loss.properties import properties
from examples.studies.which_loss.records import Records
from examples.studies.which_loss.statistics import (
    Answer,
    answer,
    least_difference,
    ranking,
    spread_of,
)

BASELINES = ("binary_cross_entropy", "zlpr")
# metric, rule that decides, larger is better
METRICS = {
    "micro-F1": ("micro_f1", "tuned", True),
    "macro-F1": ("macro_f1", "per_label", True),
    "sample F1": ("samples_f1", "tuned", True),
    "subset accuracy": ("subset_accuracy", "tuned", True),
    "Hamming loss": ("hamming", "tuned", False),
    "LRAP": ("lrap", "tuned", True),
    "mAP": ("map", "tuned", True),
    "AUROC": ("auroc", "tuned", True),
    "calibration error": ("ece_calibrated", "tuned", False),
}
AT_ZERO = {
    "micro-F1 at 0": ("micro_f1", "zero", True),
    "sample F1 at 0": ("samples_f1", "zero", True),
    "subset accuracy at 0": ("subset_accuracy", "zero", True),
    "raw calibration error": ("ece", "zero", False),
}
# with fewer, signed ranks are sure of what a handful of sets happens to show
FEWEST_SETS = 8


def render(records: Records, into: Path, folder: Path | None, folds: int) -> None:
    """Write the page and its figures beside it.

    Only complete data sets count: every main loss with so many folds.
    """
    runs = pd.DataFrame(records.table().to_dict(as_series=False))
    complete = complete_sets(runs, folds)
    parts = [
        "# Which loss for multi-label classification?",
        "Rendered by `python -m examples.studies.which_loss page`; the conditions are in "
        "[the protocol](which_loss_protocol.md).",
        f"Complete data sets: {len(complete)} of {len(data_sets.MAIN)}"
        + (f" ({', '.join(complete)})." if complete else "."),
    ]
    if len(complete) < len(data_sets.MAIN):
        parts.append(
            "**The study is not finished.** There are no statistics before "
            f"{FEWEST_SETS} data sets are complete, and no verdict before all are."
        )
    if len(complete) >= FEWEST_SETS:
        parts += _answers(runs, complete, into)
    here = [name for name in complete if name in data_sets.available(folder)]
    known = {name: properties(data_sets.load(name, folder)) for name in here}
    parts += _dependence(runs, list(known), known, into)
    for title in METRICS | AT_ZERO:
        if complete:
            parts += [f"## {title} on each data set", _markdown(values(runs, complete, title))]
    into.parent.mkdir(parents=True, exist_ok=True)
    into.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def complete_sets(runs: pd.DataFrame, folds: int) -> list[str]:
    """Data sets where every main loss has so many folds, in the order of the study."""
    counts = runs.groupby(["data", "loss"])["fold"].nunique()
    return [
        name
        for name in data_sets.MAIN
        if all(counts.get((name, loss), 0) >= folds for loss in losses.MAIN)
    ]


def values(runs: pd.DataFrame, names: list[str], title: str) -> pd.DataFrame:
    """Means over folds, a row per data set and a column per main loss that the rule is for."""
    metric, rule, _ = (METRICS | AT_ZERO)[title]
    chosen = runs[runs["rule"].eq(rule) & runs["data"].isin(names)]
    table = chosen.pivot_table(index="data", columns="loss", values=metric, aggfunc="mean")
    meant = [name for name, loss in losses.MAIN.items() if title in METRICS or loss.decides_at_zero]
    return table.loc[names, meant]


def answers(runs: pd.DataFrame, names: list[str], title: str, baseline: str) -> dict[str, Answer]:
    """Of each main loss against the baseline."""
    table = values(runs, names, title) * (1 if (METRICS | AT_ZERO)[title][2] else -1)
    return {
        loss: answer(table[loss].to_numpy(), table[baseline].to_numpy())
        for loss in table
        if loss != baseline
    }


def _answers(runs: pd.DataFrame, names: list[str], into: Path) -> list[str]:
    parts = ["## Ranks", "Mean rank over data sets, 1 is best."]
    rankings = {
        title: ranking(values(runs, names, title) * (1 if METRICS[title][2] else -1))
        for title in METRICS
    }
    ranks = pd.DataFrame({title: found.ranks for title, found in rankings.items()})
    ranks = ranks.loc[ranks.mean(axis=1).sort_values().index].map("{:.1f}".format)
    ranks.loc["Friedman's p"] = [f"{found.p:.2g}" for found in rankings.values()]
    difference = rankings["micro-F1"].critical_difference
    figure = into.with_name(f"{into.stem}_ranks.png")
    critical_differences(rankings, figure)
    parts += [
        _markdown(ranks),
        f"Mean ranks closer than {difference:.1f} are not told apart (Nemenyi, 0.05).",
        f"![Critical differences]({figure.name})",
    ]
    for baseline in BASELINES:
        parts.append(f"## Against `{baseline}`")
        parts.append("In brackets: the probability of better, equivalent and worse, in percent.")
        found = {title: answers(runs, names, title, baseline) for title in METRICS | AT_ZERO}
        parts.append(
            _markdown(pd.DataFrame(found).map(_words, na_action="ignore").fillna("no zero"))
        )
    return [*parts, *_power(runs, names)]


def _power(runs: pd.DataFrame, names: list[str]) -> list[str]:
    rows = {}
    for title in METRICS:
        table = values(runs, names, title)
        others = table.drop(columns=BASELINES[0])
        spread = [spread_of((others[loss] - table[BASELINES[0]]).to_numpy()) for loss in others]
        rows[title] = {
            "spread over sets": round(float(np.median(spread)), 4),
            "smallest difference found": least_difference(float(np.median(spread)), len(names)),
        }
    return [
        "## What this design can see",
        "The median over losses of the spread of their difference to binary cross-entropy, and the "
        'smallest mean difference that would be called "better" with probability 0.8.',
        _markdown(pd.DataFrame(rows).T.round(4)),
    ]


def _dependence(
    runs: pd.DataFrame, names: list[str], known: dict[str, dict[str, float]], into: Path
) -> list[str]:
    if len(names) < 2:
        return []
    table = pd.DataFrame(known).T
    figure = into.with_name(f"{into.stem}_data.png")
    order = table["labels per example"].sort_values().index
    tables = {title: values(runs, list(order), title) for title in ("micro-F1", "mAP")}
    differences(tables, BASELINES[0], figure)
    parts = [
        "## What the data decide",
        _markdown(table.round(3)),
        f"![Difference to binary cross-entropy, sets by labels per example]({figure.name})",
    ]
    if len(names) < FEWEST_SETS:
        return parts
    micro = values(runs, names, "micro-F1")
    gains = micro.sub(micro[BASELINES[0]], axis=0).drop(columns=BASELINES[0])
    related = pd.DataFrame(
        {column: gains.corrwith(table[column], method="spearman") for column in table}
    )
    return [
        *parts,
        "Rank correlation of the gain in micro-F1 over binary cross-entropy with a property of the "
        f"data, over {len(names)} sets: hints, no more.",
        _markdown(related.round(2)),
    ]


def _words(found: Answer) -> str:
    shares = " / ".join(f"{100 * share:.0f}" for share in found[1:])
    return f"{found.verdict} ({shares})"


def _markdown(table: pd.DataFrame) -> str:
    cells = table.map(_cell)
    numbers = ("left", *["right"] * table.shape[1])
    return cells.to_markdown(disable_numparse=True, colalign=numbers)


def _cell(x: object) -> str:
    if not isinstance(x, float):
        return str(x)
    return f"{x:.0f}" if x >= 1 and x.is_integer() else f"{x:.3f}"
