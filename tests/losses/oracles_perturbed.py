"""What the perturbed top-k operator should be: sorting, and a dense quadrature in float64.

They share no code with the library.
"""

from __future__ import annotations

import math

import numpy as np

S = np.ndarray


def normal_cdf(x: S) -> S:
    return np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in np.ravel(x)]).reshape(np.shape(x))


def kth_largest(scores: S, k: int, noise: S, sigma: float) -> float:
    """One example: noise `[L, num_samples]`."""
    samples = [sorted(scores + sigma * z, reverse=True)[k - 1] for z in noise.T]
    return float(np.mean(samples))


def top_k_sum(scores: S, k: int, noise: S, sigma: float) -> float:
    return sum(kth_largest(scores, rank, noise, sigma) for rank in range(1, k + 1))


def probabilities(scores: S, k: int, sigma: float) -> S:
    """Of each class to be the k-th largest, on a grid of 1/40 over all that can happen.

    Class j is at t, and k - 1 of the others, counted one after the other, are above.
    """
    x = np.asarray(scores, dtype=float) / sigma
    center = np.sort(x)[::-1][k - 1]
    grid = center + np.arange(-8, 8, 1 / 40)
    above = np.array([normal_cdf(score - grid) for score in x])
    result = []
    for j, score in enumerate(x):
        counts = np.zeros((k, grid.size))
        counts[0] = 1
        for i in range(len(x)):
            if i != j:
                counts[1:] += above[i] * (counts[:-1] - counts[1:])
                counts[0] *= 1 - above[i]
        density = np.exp(-0.5 * (score - grid) ** 2) / math.sqrt(2 * math.pi)
        result.append(np.sum(counts[k - 1] * density) / 40)
    return np.array(result)


def expected_kth_largest(scores: S, k: int, sigma: float) -> float:
    """From the probability to be above t, on the same grid."""
    x = np.asarray(scores, dtype=float) / sigma
    center = np.sort(x)[::-1][k - 1]
    grid = center + np.arange(-8, 8, 1 / 40)
    counts = np.zeros((k, grid.size))
    counts[0] = 1
    for score in x:
        above = normal_cdf(score - grid)
        counts[1:] += above * (counts[:-1] - counts[1:])
        counts[0] *= 1 - above
    beyond = 1 - counts.sum(0)
    return sigma * float(grid[0] - 1 / 80 + np.sum(beyond) / 40)
