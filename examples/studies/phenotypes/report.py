"""What the study reports: rows of diseases, their metrics, and the table."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

import mlc_losses
from examples.studies.common.tables import Records, Table, cell, distinct
from mlc_losses import Hierarchy, metrics

METRICS = (
    "hierarchical F1, tuned",
    "hierarchical F1, at 0",
    "incoherent sets",
    "P@5, closed",
    "PSP@5, closed",
    "P@1, as annotated",
    "P@5, as annotated",
    "PSP@5, as annotated",
)


class Rows(NamedTuple):
    """Some diseases: vectors of the names, frequencies and what is ruled out."""

    x: np.ndarray
    frequency: scipy.sparse.csr_array
    excluded: scipy.sparse.csr_array

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.x[rows], self.frequency[rows].toarray(), self.excluded[rows].toarray()


def tuned(scores: np.ndarray, rows: Rows, up: Hierarchy) -> tuple[float, float]:
    """One threshold for coherent scores, and the hierarchical F1 that it has on these rows."""
    if not np.isfinite(scores).all():  # diverged
        return 0.0, -1.0
    truth, scores = up.closure(rows.frequency.toarray() > 0), up.coherent(scores)
    threshold = float(mlc_losses.tune_thresholds(scores, truth, average="micro"))
    return threshold, float(metrics.f1_score(scores > threshold, truth, average="micro"))


class Seen(NamedTuple):
    """How many diseases to train on there are, and how many have each term."""

    rows: int
    annotated: np.ndarray
    closed: np.ndarray


def count(rows: Rows, up: Hierarchy) -> Seen:
    number, labels = rows.frequency.shape
    closed = np.zeros(labels, np.int64)
    for start in range(0, number, 512):
        annotated = rows.frequency[start : start + 512].toarray() > 0
        closed += up.closure(annotated).sum(axis=0)
    return Seen(number, np.bincount(rows.frequency.indices, minlength=labels), closed)


def evaluate(
    scores: np.ndarray, rows: Rows, threshold: float, up: Hierarchy, seen: Seen
) -> dict[str, float]:
    """All `METRICS`: sets and closed rankings by the coherent scores, the others by the logits."""
    annotated = rows.frequency.toarray() > 0
    truth, coherent = up.closure(annotated), up.coherent(scores)
    sets = scores > threshold
    found = {
        METRICS[0]: metrics.f1_score(coherent > threshold, truth, average="micro"),
        METRICS[1]: metrics.f1_score(coherent > 0, truth, average="micro"),
        METRICS[2]: (up.closure(sets) != sets).any(axis=1).mean(),
    }
    for kind, ranked, relevant, counts in (
        ("closed", coherent, truth, seen.closed),
        ("as annotated", scores, annotated, seen.annotated),
    ):
        propensities = np.asarray(metrics.label_propensities(counts, seen.rows))
        worth = partial(
            metrics.propensity_scored_precision_at_k,
            targets=relevant,
            k=5,
            propensities=propensities,
        )
        found[f"P@1, {kind}"] = metrics.precision_at_k(ranked, relevant, 1)
        found[f"P@5, {kind}"] = metrics.precision_at_k(ranked, relevant, 5)
        # of the best that can be had: the relevant labels by what they are worth
        found[f"PSP@5, {kind}"] = worth(ranked) / worth(np.where(relevant, 1 / propensities, 0.0))
    return {metric: float(found[metric]) for metric in METRICS}


def tables(kept: dict[str, Any]) -> list[Table]:
    """Means over seeds; the best of a column is bold, as far as there is a best."""
    records: Records = kept["runs"]
    names = distinct(records, "method")
    numbers = {
        (name, metric): np.array([r[metric] for r in records if r["method"] == name])
        for name in names
        for metric in METRICS
    }
    best = {
        metric: max(numbers[name, metric].mean() for name in names)
        for metric in METRICS
        if metric != "incoherent sets"
    }
    rows = [
        [name]
        + [cell(n := numbers[name, m], m, m in best and n.mean() == best[m]) for m in METRICS]
        for name in names
    ]
    title = f"Phenotypes, {kept['data']['version']}: {kept['data']['terms']} terms, test rows"
    return [Table(title, ["method", *METRICS], rows)]
