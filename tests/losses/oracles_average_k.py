"""What the losses for K guesses on average and for few labels seen should be: loops in float64.

They share no code with the library. With `clip=1e-5` inside each logarithm they are the authors'
published code, up to the normalisation.
"""

from __future__ import annotations

import math

import numpy as np

S = np.ndarray


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x: float) -> float:
    return float(np.logaddexp(0.0, x))


def nll(s: float, clip: float = 0.0) -> float:
    """-log(p + clip) for the logit s of p; that of 1 - p is `nll(-s)`."""
    return -math.log(sigma(s) + clip) if clip else softplus(-s)


# one label, K guesses on average ------------------------------------------------------------------


def ranked(cells: list[tuple[float, int]]) -> list[int]:
    """Flat indices by falling score, ties by rising index."""
    return [index for _, index in sorted(cells, key=lambda cell: (-cell[0], cell[1]))]


def log_softmax(row: S) -> S:
    return row - row.max() - math.log(sum(math.exp(a - row.max()) for a in row))


def threshold(scores: S, k: float) -> float:
    falling = sorted((float(a) for a in scores.ravel()), reverse=True)
    return falling[max(round(len(scores) * k), 1) - 1]


def pseudo_labels(s: S, labels: S, k: float, rule: str = "exclude_label") -> S:
    n, num_labels = s.shape
    scores = [log_softmax(row) for row in s]
    own = {row * num_labels + int(label) for row, label in enumerate(labels)}
    cells = [(scores[i // num_labels][i % num_labels], i) for i in range(n * num_labels)]
    if rule == "exclude_label":
        others = [cell for cell in cells if cell[1] not in own]
        chosen = own | set(ranked(others)[: round(n * (k - 1))])
    else:
        chosen = own | set(ranked(cells)[: max(round(n * k), 1)])
    return np.array([i in chosen for i in range(n * num_labels)]).reshape(n, num_labels)


def two_head(
    s: S,
    t: S,
    labels: S,
    k: float,
    rule: str = "exclude_label",
    positive_weight: float = 1.0,
    pseudo_weight: float = 1.0,
    negative_weight: float = 1.0,
    head_weight: float = 1.0,
    at: S | None = None,
) -> S:
    """With the pseudo-labels of the softmax logits `at`."""
    chosen = pseudo_labels(s if at is None else at, labels, k, rule)
    losses = []
    for row, other, label, positive in zip(s, t, labels, chosen, strict=True):
        # the value must not be lost to the size of its parts
        loss = softplus(np.logaddexp.reduce(np.delete(row, label) - row[label], initial=-np.inf))
        for cell, score in enumerate(other):
            if cell == label:
                loss += head_weight * positive_weight * softplus(-score)
            elif positive[cell]:
                loss += head_weight * pseudo_weight * softplus(-score)
            else:
                loss += head_weight * negative_weight * softplus(score)
        losses.append(loss)
    return np.array(losses)


def two_heads_alike(s: S, labels: S, share: float, at: S | None = None, **keywords: float) -> S:
    k = 1 + share * (s.shape[1] - 1)
    return two_head(s, s, labels, k, at=s if at is None else at, **keywords)


# few labels seen: one example ---------------------------------------------------------------------


def assume_negative(s: S, y: S, clip: float = 0.0) -> float:
    return sum(nll(a, clip) if t else nll(-a, clip) for a, t in zip(s, y, strict=True))


def weak_assume_negative(s: S, y: S, weight: float | None = None, clip: float = 0.0) -> float:
    weak = 1 / max(len(s) - 1, 1) if weight is None else weight
    return sum(nll(a, clip) if t else weak * nll(-a, clip) for a, t in zip(s, y, strict=True))


def assume_negative_smoothed(s: S, y: S, epsilon: float = 0.1, clip: float = 0.0) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        right, wrong = (a, -a) if t else (-a, a)
        total += (1 - epsilon) * nll(right, clip) + epsilon * nll(wrong, clip)
    return total


def entropy_maximization(s: S, y: S, alpha: float = 0.1, clip: float = 0.0) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        entropy = sigma(a) * nll(a, clip) + sigma(-a) * nll(-a, clip)
        total += nll(a, clip) if t else -alpha * entropy
    return total


def splc(
    s: S, y: S, tau: float = 0.6, margin: float = 1.0, gamma: float = 2.0, correct: bool = True
) -> float:
    total = 0.0
    for a, t in zip(s, y, strict=True):
        shifted = a - margin if t else a
        positive = t or (correct and sigma(a) > tau)
        against = -shifted if positive else shifted
        total += math.exp(-gamma * softplus(-against)) * softplus(against)
    return total


# few labels seen: the batch -----------------------------------------------------------------------


def seen_terms(s: S, y: S, clip: float) -> S:
    return np.array(
        [
            sum(nll(a, clip) for a, t in zip(*row, strict=True) if t)
            for row in zip(s, y, strict=True)
        ]
    )


def count_penalty(s: S, expected: float) -> float:
    """Of one row: over the number of labels, not over its square."""
    if not s.size:
        return 0.0
    count = sum(sigma(a) for a in s.ravel()) / len(s)
    return (count - expected) ** 2 / s.shape[1]


def expected_positive(s: S, y: S, expected: float, weight: float = 1.0, clip: float = 0.0) -> S:
    return seen_terms(s, y, clip) + weight * count_penalty(s, expected)


def role(
    s: S, t: S, y: S, expected: float, clip: float = 0.0, at: tuple[S, S] | S | None = None
) -> S:
    """With soft targets from the logits `at`: of the model, or of the model and the estimator."""
    fixed_s, fixed_t = at if isinstance(at, tuple) else (s if at is None else at, t)
    total = np.zeros(len(s))
    for student, teacher in ((s, fixed_t), (t, fixed_s)):
        total += seen_terms(student, y, clip) + count_penalty(student, expected)
        for row in range(len(s)):
            for a, b in zip(student[row], teacher[row], strict=True):
                total[row] += sigma(b) * nll(a, clip) + sigma(-b) * nll(-a, clip)
    return total / 2


def large_loss(s: S, y: S, fraction: float, mode: str = "reject", at: S | None = None) -> S:
    """With the cells that are large at the logits `at`."""
    fixed = s if at is None else at
    rank = math.ceil(round(s.size * fraction, 6))
    unseen = sorted(
        (a for a, t in zip(fixed.ravel(), y.ravel(), strict=True) if not t), reverse=True
    )
    cut = unseen[min(rank, len(unseen)) - 1] if rank and unseen else math.inf
    total = np.zeros(len(s))
    for row in range(len(s)):
        for a, b, t in zip(s[row], fixed[row], y[row], strict=True):
            large = rank > 0 and b >= cut
            if t or (large and mode == "correct"):
                total[row] += softplus(-a)
            elif not large:
                total[row] += softplus(a)
    return total
