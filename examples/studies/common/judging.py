"""The one rule: what paired differences say about "A is better than B".

Differences are ours minus the rival's, positive where ours is better. Within a data set there is
one for each seed, and a Bayesian correlated t-test judges them. Over many data sets Bayesian signed
ranks judge the means; over few, the data sets themselves are counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import baycomp
import numpy as np
from baycomp.single import Posterior
from scipy.stats import t as student

ROPE = 0.01  # differences below a point do not count in practice
SURE = 0.95
SAMPLES = 5_000  # a probability of 0.95 is then known to 0.003
# of the training rows, drawn by the seed for validation: two seeds share most of the others
HELD_OUT = 0.2
FEWEST_SEEDS = 3
# with fewer, signed ranks are sure of what a handful of sets happens to show
FEWEST_SETS = 8

BETTER, EQUIVALENT, WORSE, UNDECIDED = "better", "equivalent", "worse", "undecided"


class Answer(NamedTuple):
    """`verdict` is better, equivalent, worse or undecided; probabilities in that order."""

    verdict: str
    better: float
    equivalent: float
    worse: float


def judge(differences: Mapping[str, np.ndarray]) -> Answer:
    """Of one difference per seed for each data set; undecided where there is nothing to judge."""
    if len(differences) >= FEWEST_SETS:
        means = np.array([values.mean() for values in differences.values()])
        return over_sets(means, np.zeros_like(means))
    return most([over_seeds(values) for values in differences.values()])


def over_seeds(differences: np.ndarray) -> Answer:
    """On one data set, by baycomp's posterior of the mean difference."""
    if len(differences) < FEWEST_SEEDS:
        return Answer(UNDECIDED, math.nan, math.nan, math.nan)
    mean, seeds = float(differences.mean()), len(differences)
    worse, equivalent, better = Posterior(mean, error(differences) ** 2, seeds - 1, ROPE).probs()
    return _answer(better, equivalent, worse)


def over_sets(values: np.ndarray, baseline: np.ndarray) -> Answer:
    """One value for each data set, larger is better: Bayesian signed ranks."""
    return _answer(
        *baycomp.SignedRankTest.probs(values, baseline, rope=ROPE, nsamples=SAMPLES, random_state=0)
    )


def most(answers: Sequence[Answer]) -> Answer:
    """How probable it is that ours is better (the same, worse) on more than half of the sets."""
    judged = [answer for answer in answers if not math.isnan(answer.better)]
    if not judged:
        return Answer(UNDECIDED, math.nan, math.nan, math.nan)
    shares = np.array([answer[1:] for answer in judged])
    return _answer(*(_more_than_half(column) for column in shares.T))


def error(differences: np.ndarray) -> float:
    """Of the mean difference, with the correction of Nadeau and Bengio for shared rows."""
    shared = 1 / len(differences) + HELD_OUT / (1 - HELD_OUT)
    return float(differences.std(ddof=1) * math.sqrt(shared))


def half_width(differences: np.ndarray) -> float:
    """Half the interval beyond which the mean difference lies with 1 - `SURE` on either side."""
    return float(student.isf(1 - SURE, len(differences) - 1)) * error(differences)


def least_spreads(seeds: int) -> float:
    """By how many standard deviations over seeds a mean must lie beyond the region to be sure."""
    shared = 1 / seeds + HELD_OUT / (1 - HELD_OUT)
    return float(student.isf(1 - SURE, seeds - 1)) * math.sqrt(shared)


def percents(answer: Answer) -> str:
    """The three probabilities as they are printed."""
    return " / ".join(f"{100 * share:.0f}" for share in answer[1:])


def judged_gap(differences: np.ndarray) -> str:
    """The mean difference in points, bold where the verdict is sure, and the probabilities."""
    answer = over_seeds(differences)
    mean = f"{100 * differences.mean():+z.1f}"
    return f"{mean if answer.verdict == UNDECIDED else f'**{mean}**'} ({percents(answer)})"


def _answer(better: float, equivalent: float, worse: float) -> Answer:
    shares = {BETTER: float(better), EQUIVALENT: float(equivalent), WORSE: float(worse)}
    sure = [name for name, share in shares.items() if share >= SURE]
    return Answer(sure[0] if sure else UNDECIDED, *shares.values())


def _more_than_half(probabilities: Iterable[float]) -> float:
    """That more than half of independent events happen."""
    counts = np.ones(1)
    for p in probabilities:
        counts = np.convolve(counts, [1 - p, p])
    return float(counts[(len(counts) + 1) // 2 :].sum())
