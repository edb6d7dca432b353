"""Losses for one label and K guesses in plain Python: sorted lists, and sets one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from tests.losses.oracles_ranking import log_sum_exp, softplus

S = np.ndarray


def largest(values: list[float], k: int) -> list[float]:
    """-inf for those that are not there."""
    return [*sorted(values, reverse=True), *[-np.inf] * k][:k]


def margins_over(s: S, label: int) -> list[float]:
    """By how much each class is ahead of the label, plus 1 for all but the label."""
    return [0.0 if j == label else a - s[label] + 1 for j, a in enumerate(s) if a > -np.inf]


def top_k_hinge(s: S, label: int, k: int, kind: str = "calibrated") -> float:
    if label < 0:  # left out
        return 0.0
    others = [a for j, a in enumerate(s) if j != label]
    if kind == "calibrated":
        return max(0.0, 1 + largest(list(s), k + 1)[k] - s[label])
    if kind == "off_label":
        return max(0.0, 1 + largest(others, k)[k - 1] - s[label])
    ahead = largest(margins_over(s, label), k)
    if kind == "convex":
        return max(0.0, sum(ahead) / k)
    return sum(max(0.0, a) for a in ahead) / k


def noised_top_k_hinge(
    s: S, label: int, noise: S, k: int, sigma: float, margin: float = 1.0, scale: float = 1.0
) -> float:
    """`noise` `[L, samples]`; the hinge is outside the mean over samples."""
    if label < 0:
        return 0.0
    ahead = s - s[label]
    smoothed = np.mean([largest(list(ahead + sigma * z), k + 1)[k] for z in noise.T])
    return max(0.0, scale * (margin + smoothed))


def smooth_top_k_hinge(s: S, label: int, k: int, tau: float = 1.0, margin: float = 1.0) -> float:
    """Berrada's definition, over all sets of k classes, of which label-free ones pay the margin."""
    if label < 0 or len(s) < k:
        return 0.0
    order = sorted(range(len(s)), key=lambda j: -s[j])
    best = order[:k]
    with_label, without = [], []
    for chosen in combinations(order, k):
        # by how much the mean score is behind the best one: a difference of sums would cancel
        behind = sum(s[i] - s[j] for i, j in zip(chosen, best, strict=True)) / k
        (with_label if label in chosen else without).append(behind / tau)
    gap = margin / tau + log_sum_exp(without) - log_sum_exp(with_label)
    return tau * softplus(gap)
