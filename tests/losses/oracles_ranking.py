"""What the losses over pairs of labels and over a softmax should be: plain loops in float64.

They share no code with the library. One example each, but for `two_way`, which takes the batch.
"""

from __future__ import annotations

import numpy as np

S = np.ndarray


def softplus(x: float) -> float:
    return np.logaddexp(0.0, x)


def log_sum_exp(x: list[float]) -> float:
    return np.logaddexp.reduce(x) if len(x) else -np.inf


def sides(s: S, y: S) -> tuple[list[float], list[float]]:
    """The scores of the positives, and those of the negatives."""
    return [a for a, t in zip(s, y, strict=True) if t], [
        a for a, t in zip(s, y, strict=True) if not t
    ]


def lsep(s: S, y: S) -> float:
    positives, negatives = sides(s, y)
    return log_sum_exp([0.0] + [n - p for p in positives for n in negatives])


def pairwise_hinge(s: S, y: S, margin: float = 1.0, normalize: bool = False) -> float:
    positives, negatives = sides(s, y)
    terms = [max(0.0, margin + n - p) for p in positives for n in negatives]
    if not terms:
        return 0.0
    return sum(terms) / len(terms) if normalize else sum(terms)


def multilabel_margin(s: S, y: S) -> float:
    return pairwise_hinge(s, y) / len(s) if len(s) else 0.0


def bp_mll(s: S, y: S) -> float:
    positives, negatives = sides(s, y)
    with np.errstate(over="ignore"):
        terms = [np.exp(n - p) for p in positives for n in negatives]
    return sum(terms) / len(terms) if terms else 0.0


def warp(s: S, y: S, margin: float = 1.0) -> float:
    positives, negatives = sides(s, y)
    total = 0.0
    for p in positives:
        violations = [margin + n - p for n in negatives if margin + n > p]
        total += sum(1 / i for i in range(1, len(violations) + 1)) * sum(violations)
    return total


def calibrated_ranking(s: S, y: S, threshold: float = 0.0) -> float:
    positives, negatives = sides(s, y)
    total = sum(softplus(n - p) for p in positives for n in negatives)
    total += sum(softplus(threshold - p) for p in positives)
    return total + sum(softplus(n - threshold) for n in negatives)


def distributional_ranking(
    s: S,
    y: S,
    margin: float = 0.5,
    lambda_pos: float = 1.0,
    lambda_neg: float = 0.0798,
    slope: float = 6.0,
    scale: float = 4.0,
) -> float:
    if not len(s):
        return 0.0
    positives, negatives = sides(np.exp(-softplus(-s)), y)
    low, high = 1.0, 0.0
    if positives:
        weights = [np.exp(-p / lambda_pos) for p in positives]
        low = sum(w * p for w, p in zip(weights, positives, strict=True)) / sum(weights)
    if negatives:
        weights = [np.exp(n / lambda_neg) for n in negatives]
        high = sum(w * n for w, n in zip(weights, negatives, strict=True)) / sum(weights)
    return scale / slope * softplus(slope * (high - low + margin))


def two_way(s: S, y: S, temperature_pos: float = 4.0, temperature_neg: float = 1.0) -> float:
    total = 0.0
    for scores, targets in ((s, y), (s.T, y.T)):
        values = []
        for row, relevant in zip(scores, targets, strict=True):
            positives, negatives = sides(row, relevant)
            if positives and negatives:
                high = temperature_neg * log_sum_exp([n / temperature_neg for n in negatives])
                low = temperature_pos * log_sum_exp([-p / temperature_pos for p in positives])
                values.append(softplus(high + low))
            elif positives:
                values.append(0.0)
        total += sum(values) / len(values) if values else 0.0
    return total


def circle(s: S, y: S, margin: float = 0.25, gamma: float = 256.0, at: S | None = None) -> float:
    """With the weights of the similarities `at`."""
    positives, negatives = [], []
    for a, fixed, t in zip(s, s if at is None else at, y, strict=True):
        if t:
            positives.append(-gamma * max(1 + margin - fixed, 0) * (a - 1 + margin))
        else:
            negatives.append(gamma * max(fixed + margin, 0) * (a - margin))
    return log_sum_exp([0.0] + [n + p for p in positives for n in negatives])


def log_odds_against(s: S, label: int) -> float:
    return log_sum_exp([a - s[label] for k, a in enumerate(s) if k != label])


def softmax_cross_entropy(
    s: S,
    label: int | S,
    label_smoothing: float = 0.0,
    class_weights: S | None = None,
    z_loss: float = 0.0,
) -> float:
    """For a class id or a distribution. A label of -1 is a class that is not there."""
    if np.ndim(label) == 0 and label < 0:
        return 0.0
    target = np.eye(len(s))[label] if np.ndim(label) == 0 else label
    losses = [softplus(log_odds_against(s, k)) for k in range(len(s))]
    total = 0.0
    for k, (share, loss) in enumerate(zip(target, losses, strict=True)):
        share = (1 - label_smoothing) * share + label_smoothing / len(s)
        weight = 1.0 if class_weights is None else class_weights[k]
        total += weight * share * loss if share else 0.0
    return total + (z_loss * log_sum_exp(s) ** 2 if z_loss and len(s) else 0.0)


def softmax_focal(s: S, label: int, gamma: float = 2.0) -> float:
    if label < 0:
        return 0.0
    odds = log_odds_against(s, label)
    return np.exp(-gamma * softplus(-odds)) * softplus(odds)


def ldam(s: S, label: int, margins: S, scale: float = 30.0) -> float:
    moved = s - margins * (np.arange(len(s)) == label)
    return softmax_cross_entropy(scale * moved, label)


def multilabel_softmax(s: S, y: S) -> float:
    relevant = [k for k, t in enumerate(y) if t]
    losses = [softplus(log_odds_against(s, k)) for k in relevant]
    return np.mean(losses) if losses else 0.0
