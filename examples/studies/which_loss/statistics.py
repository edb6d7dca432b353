"""Friedman, critical differences, and Bayesian signed ranks over data sets."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import baycomp
import numpy as np
import pandas as pd
import scikit_posthocs
from scipy.stats import friedmanchisquare, norm, studentized_range

from examples.studies.common.judging import ROPE, SURE


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


def least_difference(spread: float, sets: int, *, power: float = 0.8) -> float:
    """The smallest shift that is called "better" with this probability, by simulation; NaN if none.

    Differences over data sets are drawn from a normal distribution with this spread. Shifts are
    tried in steps of a tenth of the spread, from the region of practical equivalence on.
    """
    draws = np.random.default_rng(0).normal(0.0, spread, (50, sets))
    shifts = ROPE + spread * np.linspace(0.0, 3.0, 31)

    def is_found(shift: float) -> bool:
        shares = [_share_better(draw + shift) for draw in draws]
        return bool(np.mean(np.asarray(shares) >= SURE) >= power)

    place = bisect.bisect_left(shifts, True, key=is_found)
    return float(shifts[place]) if place < len(shifts) else float("nan")


def _share_better(differences: np.ndarray) -> float:
    nothing = np.zeros_like(differences)
    return baycomp.SignedRankTest.probs(
        differences, nothing, rope=ROPE, nsamples=400, random_state=0
    )[0]


def spread_of(differences: np.ndarray) -> float:
    """A robust standard deviation: one strange data set should not hide what the others show."""
    return float(np.median(np.abs(differences - np.median(differences))) / norm.ppf(0.75))
