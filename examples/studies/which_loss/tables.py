"""Numbers of the page: what each question is measured by, means over folds, and their spread."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from examples.studies.which_loss import data_sets, losses
from examples.studies.which_loss.losses import Candidate


class Question(NamedTuple):
    """A metric, the rule that decides, and whether larger is better."""

    metric: str
    rule: str
    larger_is_better: bool = True


METRICS = {
    "micro-F1": Question("micro_f1", "tuned"),
    "macro-F1": Question("macro_f1", "per_label"),
    "samples-F1": Question("samples_f1", "tuned"),
    "subset accuracy": Question("subset_accuracy", "tuned"),
    "Hamming loss": Question("hamming", "tuned", False),
    "LRAP": Question("lrap", "tuned"),
    "mAP": Question("map", "tuned"),
    "AUROC": Question("auroc", "tuned"),
    "calibration error": Question("ece_calibrated", "tuned", False),
}
AT_ZERO = {
    "micro-F1 at 0": Question("micro_f1", "zero"),
    "samples-F1 at 0": Question("samples_f1", "zero"),
    "subset accuracy at 0": Question("subset_accuracy", "zero"),
    "raw calibration error": Question("ece", "zero", False),
}
EXPECTED_F = {
    "samples-F1 by expected F": Question("samples_f1", "expected_f"),
    "micro-F1 by expected F": Question("micro_f1", "expected_f"),
}
QUESTIONS = METRICS | AT_ZERO | EXPECTED_F


def complete_sets(runs: pd.DataFrame, folds: int) -> list[str]:
    """Data sets where every main loss has so many folds, in the order of the study."""
    return _complete(runs, data_sets.MAIN, losses.MAIN, folds)


def complete_largest(runs: pd.DataFrame, folds: int) -> list[str]:
    """The same of the data sets of the appendix."""
    return _complete(runs, data_sets.LARGEST, losses.MAIN, folds)


def complete_appendix(runs: pd.DataFrame, folds: int) -> list[str]:
    """Data sets of the main table where every loss of the appendix has so many folds."""
    return _complete(runs, data_sets.MAIN, losses.APPENDIX, folds)


def values(
    runs: pd.DataFrame,
    names: list[str],
    title: str,
    of: dict[str, Candidate] = losses.MAIN,
) -> pd.DataFrame:
    """Means over folds, a row per data set and a column per loss that the rule is for."""
    return _pivoted(runs, names, title, of, "mean")


def spread(runs: pd.DataFrame, names: list[str], title: str) -> pd.Series:
    """The standard deviation over folds on each data set, the median of the losses."""
    return _pivoted(runs, names, title, losses.MAIN, "std").median(axis=1)


def larger_is_better(table: pd.DataFrame, title: str) -> pd.DataFrame:
    """The same with its sign turned where the metric is better when small."""
    return table if QUESTIONS[title].larger_is_better else -table


def gains(table: pd.DataFrame, title: str, baseline: str) -> pd.DataFrame:
    """How much better than the baseline each other loss is, positive where it is better."""
    differences = table.sub(table[baseline], axis=0).drop(columns=baseline)
    return larger_is_better(differences, title)


def markdown(table: pd.DataFrame) -> str:
    """With text to the left and everything else to the right."""
    numbers = ("left", *["right"] * table.shape[1])
    return table.map(_cell).to_markdown(disable_numparse=True, colalign=numbers)


def _complete(runs: pd.DataFrame, sets: tuple[str, ...], of: dict, folds: int) -> list[str]:
    counts = runs.groupby(["data", "loss"])["fold"].nunique()
    return [name for name in sets if all(counts.get((name, loss), 0) >= folds for loss in of)]


def _pivoted(
    runs: pd.DataFrame, names: list[str], title: str, of: dict[str, Candidate], statistic: str
) -> pd.DataFrame:
    metric, rule, _ = QUESTIONS[title]
    chosen = runs[runs["rule"].eq(rule) & runs["data"].isin(names) & runs["loss"].isin(of)]
    table = chosen.pivot_table(index="data", columns="loss", values=metric, aggfunc=statistic)
    return table.loc[names, [x for x in of if rule != "zero" or of[x].decides_at_zero]]


def _cell(x: object) -> str:
    if not isinstance(x, float):
        return str(x)
    return f"{x:.0f}" if x >= 1 and x.is_integer() else f"{x:.3f}"
