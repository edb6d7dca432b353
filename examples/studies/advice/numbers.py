"""Numbers for the page of advice, each named by a study, a method, a metric and a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from examples.studies.claims.rule import Run
from examples.studies.claims.runs import RUNS
from examples.studies.common.ranks import metric_names, ordered
from examples.studies.common.tables import distinct
from examples.studies.which_loss.tables import METRICS

Records = Mapping[str, Any]


def boosted_trees(records: Any) -> list[Run]:
    return [
        Run(
            r["data"],
            r["objective"],
            r["seed"],
            r["test"] | {f"{name} at 0": value for name, value in r["test at 0"].items()},
        )
        for r in records["runs"]
    ]


def label_ranking(records: Any) -> list[Run]:
    return [Run(r["data"], r["loss"], r["seed"], r["test"]) for r in records["runs"]]


def decisions(records: Any) -> list[Run]:
    """A method is a loss and a decision rule."""
    return [
        Run(r["data"], f"{r['loss']}, {rule}", r["seed"], numbers)
        for r in records
        for rule, numbers in r["test"].items()
    ]


def phenotypes(records: Any) -> list[Run]:
    return [Run("phenotypes", r["method"], r["seed"], r) for r in records["runs"]]


def answers(records: Records, baseline: str, loss: str = "", metric: str = "") -> list[str]:
    """Verdicts of the large study on losses against the baseline, in its main metrics."""
    questions = records["which_loss"]["answers"][baseline]
    losses = next(iter(questions.values()))
    if (metric and metric not in questions) or (loss and loss not in losses):
        raise ValueError(f"which_loss has no answer for {loss!r} in {metric!r}")
    return [
        case["verdict"]
        for title, of_losses in questions.items()
        for name, case in of_losses.items()
        if title == metric or (not metric and title in METRICS)
        if name == loss or not loss
    ]


OF_STUDIES: dict[str, Callable[[Any], list[Run]]] = {
    **RUNS,
    "boosted_trees": boosted_trees,
    "label_ranking": label_ranking,
    "decisions": decisions,
    "phenotypes": phenotypes,
}


def runs(records: Records, study: str) -> list[Run]:
    if study not in records:
        raise ValueError(f"there are no records of {study!r}")
    return OF_STUDIES[study](records[study])


def by_seed(records: Records, study: str, method: str, metric: str, data: str) -> dict[int, float]:
    found = {
        run.seed: run.numbers[metric]
        for run in runs(records, study)
        if (run.data, run.method) == (data, method) and metric in run.numbers
    }
    if not found:
        raise ValueError(f"{study} has no {metric!r} of {method!r} on {data!r}")
    return found


def over_sets(records: Records, study: str, method: str, metric: str) -> float:
    """The mean over data sets of the means over seeds."""
    sets = data_sets(records, study, metric)
    return float(np.mean([mean(records, study, method, metric, data) for data in sets]))


def mean(records: Records, study: str, method: str, metric: str, data: str) -> float:
    return float(np.mean(list(by_seed(records, study, method, metric, data).values())))


def gains(
    records: Records, study: str, ours: str, rival: str, metric: str, data: str
) -> np.ndarray:
    """How far ours is above the rival, for each seed that both have."""
    a, b = (by_seed(records, study, method, metric, data) for method in (ours, rival))
    return np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


def rank(records: Records, study: str, method: str, *only: str) -> float:
    """The mean rank over data sets and metrics, or over the metric, the data set or both given."""
    return all_ranks(records, study, *only)[method]


def all_ranks(records: Records, study: str, *only: str) -> dict[str, float]:
    found = records[study]
    methods, ranks = ordered(found)  # [methods, data sets, metrics]
    sets, metrics = distinct(found, "data"), metric_names(found)
    if unknown := set(only) - {*sets, *metrics}:
        raise ValueError(f"{study} has neither data set nor metric {unknown}")
    chosen = np.ix_(
        [i for i, name in enumerate(sets) if name in only or not set(only) & set(sets)],
        [i for i, name in enumerate(metrics) if name in only or not set(only) & set(metrics)],
    )
    return {method: float(rank[chosen].mean()) for method, rank in zip(methods, ranks, strict=True)}


def times(records: Records, study: str, ours: str, rival: str, metric: str, data: str) -> float:
    """How many times as long, by the least over the seeds: a busy machine only adds to a time."""
    a, b = (by_seed(records, study, method, metric, data) for method in (ours, rival))
    return min(a.values()) / min(b.values())


def methods(records: Records, study: str) -> Sequence[str]:
    return list(dict.fromkeys(run.method for run in runs(records, study)))


def data_sets(records: Records, study: str, metric: str) -> Sequence[str]:
    return list(dict.fromkeys(run.data for run in runs(records, study) if metric in run.numbers))
