"""What each loss should be: plain float64 formulas of one example, written apart from the library.

They share no code with it and no trick: `numpy.logaddexp` is all they need to stay finite.
"""

from __future__ import annotations

import numpy as np

S = np.ndarray
Weight = np.ndarray | float | None


def softplus(x: float) -> float:
    return np.logaddexp(0.0, x)


def sigmoid(x: float) -> float:
    return np.exp(-softplus(-x))


def zlpr(s: S, y: S, threshold: float = 0.0) -> float:
    negative = [threshold] + [a + np.log(1 - t) for a, t in zip(s, y, strict=True) if t < 1]
    positive = [-threshold] + [-a + np.log(t) for a, t in zip(s, y, strict=True) if t > 0]
    return np.logaddexp.reduce(negative) + np.logaddexp.reduce(positive)


def zlpr_kl(s: S, t: S, scale: float = 1.0) -> float:
    """Both directions of the KL divergence between Bernoulli distributions, label by label."""
    total = 0.0
    for a, b in zip(scale * s, scale * t, strict=True):
        for p, q in ((a, b), (b, a)):
            yes = sigmoid(p) * (softplus(-q) - softplus(-p))
            no = sigmoid(-p) * (softplus(q) - softplus(p))
            total += yes + no
    return total


def r_drop(s: S, t: S, y: S, alpha: float = 1.0) -> float:
    return (zlpr(s, y) + zlpr(t, y)) / 2 + alpha / 2 * zlpr_kl(s, t)


def binary_cross_entropy(s: S, y: S, pos_weight: Weight = None, label_weights: Weight = None):
    p = np.ones_like(s) * (1.0 if pos_weight is None else pos_weight)
    w = np.ones_like(s) * (1.0 if label_weights is None else label_weights)
    return sum(
        w_l * (p_l * t * softplus(-a) + (1 - t) * softplus(a))
        for a, t, p_l, w_l in zip(s, y, p, w, strict=True)
    )


def binary_cross_entropy_by_cell(s: S, pos_weight: S, label_weights: S, y: S) -> float:
    return binary_cross_entropy(s, y, pos_weight, label_weights)


def multilabel_soft_margin(s: S, y: S, label_weights: S | None = None) -> float:
    return binary_cross_entropy(s, y, label_weights=label_weights) / len(s) if len(s) else 0.0


def focal(s: S, y: S, gamma: float = 2.0, alpha: float | None = None) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        right = a if t else -a
        weight = 1.0 if alpha is None else (alpha if t else 1 - alpha)
        total += weight * np.exp(-gamma * softplus(right)) * softplus(-right)
    return total


def poly(s: S, y: S, epsilon: float = 1.0, gamma: float = 0.0, alpha: float | None = None) -> float:
    added = sum(sigmoid(-a if t else a) ** (gamma + 1) for a, t in zip(s, y, strict=True))
    return focal(s, y, gamma, alpha) + epsilon * added


def asymmetric(
    s: S, y: S, gamma_neg: float = 4.0, gamma_pos: float = 1.0, margin: float = 0.05
) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        if t:
            total += sigmoid(-a) ** gamma_pos * softplus(-a)
        elif margin == 0:
            total += sigmoid(a) ** gamma_neg * softplus(a)
        else:
            p = max(sigmoid(a) - margin, 0.0)
            total += p**gamma_neg * -np.log(1 - p)
    return total


def hill(s: S, y: S, margin: float = 1.0, gamma: float = 2.0, lam: float = 1.5) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        if t:
            total += sigmoid(margin - a) ** gamma * softplus(margin - a)
        else:
            total += (lam - sigmoid(a)) * sigmoid(a) ** 2
    return total
