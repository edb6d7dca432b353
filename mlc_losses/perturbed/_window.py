"""Where the window of the exact method ends: numbers for a rank and a count, computed once."""

from __future__ import annotations

import math

import numpy as np

from mlc_losses.perturbed._counts import FAR


def window_ends(k: int, num_candidates: int, tail: float) -> np.ndarray:
    """`[2, 2]`: where the window ends at the latest; the expected counts with which it may end.

    At the lower end the expected count is to be no less than the first, at the upper no more than
    the second, both with the sign of the search.
    """
    few, many = _expected_counts(k, num_candidates, tail)
    low, high = _quantile(tail / k), -_quantile(tail / (num_candidates - k + 1))
    return np.array([[low, high], [many, -few]])


def _quantile(chance: float) -> float:
    """Below which a standard normal number is with that chance, at most 1/2.

    PyTorch's compiler traces it: it cannot trace that of Python's `statistics`, which is written in
    C, and warns of a function with a cache.
    """
    low, high = -FAR, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        if math.erfc(-middle * math.sqrt(0.5)) < 2.0 * chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _expected_counts(k: int, num_candidates: int, tail: float) -> tuple[float, float]:
    """Expected counts with which k or more, or fewer than k, have no more than that probability."""
    few, many = _expected_counts_above(k, tail)
    # the same of the candidates below, of which fewer than this is k or more above
    few_below, many_below = _expected_counts_above(num_candidates - k + 1, tail)
    return max(few, num_candidates - many_below), min(many, num_candidates - few_below)


def _expected_counts_above(count: int, tail: float) -> tuple[float, float]:
    few = _expected_count(count, tail, good=1e-300, bad=float(count))
    many = _expected_count(count - 1, tail, good=2.0 * count + 2000.0, bad=float(count - 1))
    return few, many


def _expected_count(count: int, tail: float, good: float, bad: float) -> float:
    """The expected count nearest to `bad` for which `count` is improbable enough, by bisection."""
    for _ in range(100):
        middle = (good + bad) / 2
        if _chernoff(count, middle) <= math.log(tail):
            good = middle
        else:
            bad = middle
    return good


def _chernoff(count: int, expected: float) -> float:
    """Chernoff's bound on the logarithm of the probability of a count on the far side."""
    chance = count - expected
    return chance + count * math.log(expected / count) if count else chance
