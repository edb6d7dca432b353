"""What the losses that rank the examples of a label should be: plain loops in float64.

They share no code with the library. Each takes the labels as rows: `[L, B]`.
"""

from __future__ import annotations

import numpy as np

S = np.ndarray


def sigmoid(x: float) -> float:
    return np.exp(-np.logaddexp(0.0, -x))


def smooth_average_precision(s: S, y: S, temperature: float = 0.01) -> S:
    """As a sum of N / R, since 1 - A / R loses the digits of a small loss."""
    values = []
    for scores, relevant in zip(s, y, strict=True):
        positives = [i for i, t in enumerate(relevant) if t]
        total = 0.0
        for i in positives:
            shares = [
                sigmoid(0.0 if b == scores[i] else (b - scores[i]) / temperature) for b in scores
            ]
            missed = sum(x for x, t in zip(shares, relevant, strict=True) if not t)
            found = 1.0 + sum(shares[j] for j in positives if j != i)
            total += missed / (found + missed)
        values.append(total / len(positives) if positives else 0.0)
    return np.array(values)


def auc_margin(s: S, y: S, margin: float = 1.0) -> S:
    """By the share 1 - h that a positive has missed, since h near 1 has lost it."""
    values = []
    for scores, relevant in zip(s, y, strict=True):
        missed = [sigmoid(-a) for a, t in zip(scores, relevant, strict=True) if t]
        raised = [sigmoid(a) for a, t in zip(scores, relevant, strict=True) if not t]
        if not missed or not raised:
            values.append(0.0)
            continue
        excess = max(0.0, (margin - 1.0) + np.mean(missed) + np.mean(raised))
        values.append(np.var(missed) + np.var(raised) + excess**2)
    return np.array(values)
