"""Ranks of losses over data sets and metrics, and the tables that show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata, studentized_range

from examples.report import LOWER_IS_BETTER
from examples.studies.common.tables import Records, Table, cell, distinct

REPEATED = ("P@1",)  # 1 - one-error


def metric_names(records: Records) -> list[str]:
    """The metrics that all data sets have, each only once."""
    first, *others = (record["test"] for record in records)
    return [m for m in first if m not in REPEATED and all(m in other for other in others)]


def values(records: Records, data: str, loss: str, metric: str, part: str = "test") -> np.ndarray:
    """One number per seed."""
    chosen = [r for r in records if r["data"] == data and r["loss"] == loss]
    return np.array([record[part][metric] for record in chosen])


def all_ranks(records: Records) -> np.ndarray:
    """`[losses, data sets, metrics]`: 1 is the best mean over seeds, ties share their mean rank."""
    losses, names = distinct(records, "loss"), distinct(records, "data")
    ranks = []
    for metric in metric_names(records):
        sign = 1 if metric in LOWER_IS_BETTER else -1
        means = [[values(records, d, loss, metric).mean() for d in names] for loss in losses]
        ranks.append(rankdata(sign * np.array(means), axis=0))
    return np.stack(ranks, axis=-1)


def ordered(records: Records) -> tuple[list[str], np.ndarray]:
    """Losses from the best mean rank to the worst, and their ranks in that order."""
    ranks = all_ranks(records)
    order = np.argsort(ranks.mean(axis=(1, 2)), kind="stable")
    losses = distinct(records, "loss")
    return [losses[i] for i in order], ranks[order]


def critical_difference(losses: int, names: int) -> float:
    """Nemenyi's: two mean ranks over `names` data sets must differ by this at the 5 % level."""
    q = studentized_range.ppf(0.95, losses, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(losses * (losses + 1) / (6 * names)))


def rank_table(records: Records, title: str, column: str = "loss") -> Table:
    losses, ranks = ordered(records)
    names = distinct(records, "data")
    rows = [
        [f"`{loss}`", *(f"{v:.1f}" for v in rank.mean(axis=1)), f"{rank.mean():.1f}"]
        for loss, rank in zip(losses, ranks, strict=True)
    ]
    return Table(title, [column, *names, "mean"], rows)


def metric_table(records: Records, data: str, metrics: Sequence[str], title: str) -> Table:
    losses, _ = ordered(records)
    numbers = {(a, m): values(records, data, a, m) for a in losses for m in metrics}
    best = {
        m: (min if m in LOWER_IS_BETTER else max)(numbers[a, m].mean() for a in losses)
        for m in metrics
    }
    rows = [
        [f"`{a}`", *(cell(numbers[a, m], m, numbers[a, m].mean() == best[m]) for m in metrics)]
        for a in losses
    ]
    heads = [f"{m} {'↓' if m in LOWER_IS_BETTER else '↑'}" for m in metrics]
    return Table(f"{data}: {title}", ["loss", *heads], rows)


def rates_table(records: Records, rates: Sequence[float]) -> Table:
    rows = []
    for loss in ordered(records)[0]:
        chosen = Counter(r["rate"] for r in records if r["loss"] == loss)
        rows.append([f"`{loss}`", *(str(chosen[rate]) for rate in rates)])
    return Table("How often each learning rate was chosen", ["loss", *map(str, rates)], rows)


def complete(records: Records) -> list[Mapping[str, Any]]:
    """Without the losses that lack a data set: they could not be ranked."""
    found = {(record["data"], record["loss"]) for record in records}
    names = {data for data, _ in found}
    return [r for r in records if all((data, r["loss"]) in found for data in names)]
