"""What the losses over label sets, sequences and batches should be: plain float64 loops.

As in `oracles`, nothing here shares code or tricks with the library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

S = np.ndarray


def log_softmax(s: S) -> S:
    return s - np.logaddexp.reduce(s)


def log_sigmoid(x: float) -> float:
    return -np.logaddexp(0.0, -x)


def sigmoid(x: float) -> float:
    return np.exp(log_sigmoid(x))


def label_powerset(s: S, z: int) -> float:
    return -log_softmax(s)[z]


def marginals(s: S, table: S) -> S:
    total = np.zeros(table.shape[1])
    for share, row in zip(np.exp(log_softmax(s)), table, strict=True):
        for label, on in enumerate(row):
            total[label] += share * bool(on)
    return total


def nearest_set(table: S, row: S) -> int:
    distances = [sum(bool(a) != bool(b) for a, b in zip(k, row, strict=True)) for k in table]
    return distances.index(min(distances))


def order_labels(y: S, counts: S, max_labels: int) -> list[int]:
    ids = sorted((i for i, on in enumerate(y) if on), key=lambda i: (-counts[i], i))[:max_labels]
    return ids + [-1] * (max_labels - len(ids))


def label_sequence(steps: S, ids: Sequence[int]) -> float:
    classes = [int(i) for i in ids if i >= 0] + [steps.shape[1] - 1]
    return sum(-log_softmax(steps[t])[c] for t, c in enumerate(classes))


def label_set_sequence(steps: S, y: S, ids: Sequence[int]) -> float:
    relevant = {label for label, on in enumerate(y) if on}
    given = [int(i) for i in ids if i >= 0]
    total = 0.0
    for t in range(len(given) + 1):
        left = sorted(relevant - set(given[:t]))
        if not left:
            return total - log_softmax(steps[t])[-1]
        total -= np.mean(log_softmax(steps[t])[left])
    return total


def overlap(
    s: S,
    y: S,
    alpha: float = 0.5,
    beta: float = 0.5,
    slope: float = 1.0,
    offset: float = 0.0,
    where: S | None = None,
) -> S:
    """In logarithms, label by label and example by example, so that no count underflows."""
    values = []
    for label in range(s.shape[1]):
        true = false = -np.inf
        for i in range(len(s)):
            if where is not None and not where[i, label]:
                continue
            t, z = y[i, label], slope * (s[i, label] - offset)
            with np.errstate(divide="ignore"):
                true = np.logaddexp(true, np.log(t) + log_sigmoid(z))
                false = np.logaddexp(false, np.log(alpha * (1 - t)) + log_sigmoid(z))
                false = np.logaddexp(false, np.log(beta * t) + log_sigmoid(-z))
        total = np.logaddexp(true, false)
        values.append(0.0 if total == -np.inf else np.exp(false - total))
    return np.array(values)


def distribution_balanced(
    s: S,
    y: S,
    counts: S,
    num_examples: float,
    alpha: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.2,
    lam: float = 2.0,
    kappa: float = 0.05,
    gamma: float = 2.0,
    balance: float = 2.0,
) -> float:
    n = [max(c, 1.0) for c in counts]
    rarity = sum(1 / c for c, t in zip(n, y, strict=True) if t)
    total = 0.0
    for a, t, c in zip(s, y, n, strict=True):
        r = alpha + (sigmoid(beta * (1 / c / rarity - mu)) if rarity else 1.0)
        z = a - kappa / lam * np.log(num_examples / c - 1)
        right = z if t else -lam * z
        total += balance * (r if t else r / lam) * sigmoid(-right) ** gamma * -log_sigmoid(right)
    return total


def derivatives(function: Callable[[S], float | S], x: S) -> S:
    """Central differences of a number, or of the sum of several.

    Each is subtracted by itself: what does not depend on an entry of x leaves no rounding behind.
    """
    result = np.empty_like(x)
    for index in np.ndindex(*x.shape):
        step = 1e-6 * max(1.0, abs(x[index])) ** 0.5
        sides = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * step
            sides.append(function(moved))
        result[index] = np.sum(np.subtract(*sides)) / (2 * step)
    return result
