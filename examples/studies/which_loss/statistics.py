"""Friedman, critical differences, and Bayesian signed ranks over data sets."""

from __future__ import annotations

from typing import NamedTuple

import baycomp
import numpy as np
import pandas as pd
import scikit_posthocs
from scipy.stats import friedmanchisquare, norm, studentized_range

ROPE = 0.01
SURE = 0.95
SAMPLES = 20_000


class Answer(NamedTuple):
    """`verdict` is better, equivalent, worse or undecided; probabilities in that order."""

    verdict: str
    better: float
    equivalent: float
    worse: float


def answer(values: np.ndarray, baseline: np.ndarray) -> Answer:
    """Of a loss against a baseline, one value per data set, larger is better."""
    better, equivalent, worse = baycomp.SignedRankTest.probs(
        values, baseline, rope=ROPE, nsamples=SAMPLES, random_state=0
    )
    shares = {"better": better, "equivalent": equivalent, "worse": worse}
    sure = [name for name, share in shares.items() if share >= SURE]
    return Answer(sure[0] if sure else "undecided", float(better), float(equivalent), float(worse))


class Ranking(NamedTuple):
    """Mean ranks (1 is best), Friedman's p, Nemenyi's p of each pair, the critical difference."""

    ranks: pd.Series
    p: float
    pairs: pd.DataFrame
    critical_difference: float


def ranking(table: pd.DataFrame) -> Ranking:
    """Of a table with a row per data set and a column per loss, larger is better."""
    sets, losses = table.shape
    ranks = table.rank(axis=1, ascending=False).mean().sort_values()
    p = float(friedmanchisquare(*(table[name] for name in table)).pvalue)
    pairs = scikit_posthocs.posthoc_nemenyi_friedman(table)
    quantile = studentized_range.ppf(0.95, losses, np.inf) / np.sqrt(2)
    return Ranking(ranks, p, pairs, float(quantile * np.sqrt(losses * (losses + 1) / (6 * sets))))


def least_difference(
    spread: float, sets: int, *, simulations: int = 60, power: float = 0.8
) -> float:
    """The smallest shift that is called "better" with this probability, by simulation.

    Differences over data sets are drawn from a normal distribution with this spread. The grid
    has steps of a twentieth of the spread, beyond the region of practical equivalence.
    """
    draws = np.random.default_rng(0).normal(0.0, spread, (simulations, sets))
    for shift in ROPE + spread * np.arange(0.0, 2.01, 0.1):
        found = [
            baycomp.SignedRankTest.probs(
                draw + shift, np.zeros(sets), rope=ROPE, nsamples=1000, random_state=0
            )[0]
            for draw in draws
        ]
        if np.mean(np.asarray(found) >= SURE) >= power:
            return float(shift)
    return float("nan")


def spread_of(differences: np.ndarray) -> float:
    """A robust standard deviation: one strange data set should not hide what the others show."""
    return float(np.median(np.abs(differences - np.median(differences))) / norm.ppf(0.75))
