"""Decisions in float64, by other ways than the library's."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.signal import lfilter


def expected_f_by_sets(p: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """E[F] of the k first labels, k = 0..L, over all label sets `[2^L, L]`."""
    sets = np.array(list(itertools.product([0, 1], repeat=len(p))))
    chance = np.prod(np.where(sets, p, 1 - p), axis=1)
    found = []
    for k in range(len(p) + 1):
        whole = k + beta**2 * sets.sum(1)
        f = (1 + beta**2) * sets[:, :k].sum(1) / np.where(whole > 0, whole, 1)
        found.append(chance @ f)
    return np.array(found)


def expected_f(p: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """The same in O(L²): the counts of all labels, and those without each of them.

    One label is taken out of the counts by a recursion, from the end where it is stable.
    """
    counts = np.ones(1)
    for chance in p:
        counts = np.convolve(counts, [1 - chance, chance])
    numbers = np.arange(1, len(p) + 1)
    # Σ_{i <= k} p_i P(i and s - 1 others), by s
    hits, found = np.zeros(len(p)), [0.0]
    for k, chance in enumerate(p, 1):
        if chance < 0.5:
            others = lfilter([1], [1 - chance, chance], counts)[:-1]
        else:
            others = lfilter([1], [chance, 1 - chance], counts[::-1])[:-1][::-1]
        hits = hits + chance * others
        found.append((1 + beta**2) * (hits / (k + beta**2 * numbers)).sum())
    return np.array(found)


def conformal_threshold(scores: np.ndarray, targets: np.ndarray, recall: float) -> float:
    """By trying each score."""
    best, n = -np.inf, len(scores)
    size = np.maximum(targets.sum(1), 1)
    for t in np.unique(scores):
        loss = ((scores < t) & targets).sum(1) / size
        if (loss.sum() + 1) / (n + 1) <= 1 - recall + 1e-12:
            best = t
    return best


def temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    def entropy(log_inverse: float) -> float:
        s = logits * np.exp(log_inverse)
        return float(np.mean(np.logaddexp(0, s) - targets * s))

    limit = np.log(1e3)
    found = minimize_scalar(
        entropy, bounds=(-limit, limit), method="bounded", options={"xatol": 1e-9}
    )
    return float(np.exp(-found.x))
