"""What the contrastive losses should be: plain loops in float64 over label sets and pairs.

They share no code with the library. Each takes the whole batch and gives one value per anchor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

S = np.ndarray
Sets = Sequence[set[int]]
# the weight of candidate j for anchor i
Weight = Callable[[int, int], float]


def label_sets(y: S) -> list[set[int]]:
    return [{label for label, on in enumerate(row) if on > 0.5} for row in y]


def cosine(a: S, b: S) -> float:
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    return 0.0 if 0 in lengths else float((a / lengths[0]) @ (b / lengths[1]))


def soft_target_loss(
    scores: Sequence[float], weights: Sequence[float], betas: Sequence[float]
) -> float:
    """One row: `-Σ q (s - log Σ β e^s)`, over those candidates that are there."""
    if not any(weights):
        return 0.0
    total = np.logaddexp.reduce([s + np.log(b) for s, b in zip(scores, betas, strict=True) if b])
    return sum(q * (total - s) for s, q in zip(scores, weights, strict=True) if q)


def anchored(
    anchors: S,
    candidates: S,
    own: Sequence[int | None],
    weight: Weight,
    temperature: float,
    betas: Sequence[float] | None = None,
) -> S:
    values = []
    for i, z in enumerate(anchors):
        others = [j for j in range(len(candidates)) if j != own[i]]
        scores = [cosine(z, candidates[j]) / temperature for j in others]
        given = [1.0 if betas is None else betas[j] for j in others]
        values.append(soft_target_loss(scores, [weight(i, j) for j in others], given))
    return np.array(values, dtype=float)


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


PAIRS = {
    "jaccard": jaccard,
    "any": lambda a, b: float(bool(a & b)),
    "all": lambda a, b: float(bool(a) and a == b),
}


def row_normalised(anchors: Sets, candidates: Sets, own: Sequence[int | None], pair: str) -> Weight:
    @cache
    def weight(i: int, j: int) -> float:
        total = sum(
            PAIRS[pair](anchors[i], candidates[k]) for k in range(len(candidates)) if k != own[i]
        )
        return PAIRS[pair](anchors[i], candidates[j]) / total if total else 0.0

    return weight


def label_normalised(
    anchors: Sets, candidates: Sets, own: Sequence[int | None], factor: Weight
) -> Weight:
    @cache
    def weight(i: int, j: int) -> float:
        total = 0.0
        for label in anchors[i] & candidates[j]:
            among = sum(
                factor(i, k)
                for k in range(len(candidates))
                if k != own[i] and label in candidates[k]
            )
            total += factor(i, j) / among if among else 0.0
        return total / len(anchors[i]) if anchors[i] else 0.0

    return weight


def overlap_factor(anchors: Sets, candidates: Sets, alpha: float) -> Weight:
    def factor(i: int, j: int) -> float:
        if alpha < 0:
            return float(candidates[j] <= anchors[i])
        return (len(anchors[i] & candidates[j]) / len(candidates[j])) ** alpha

    return factor


def with_keys(
    x: S, y: S, keys: S | None, key_targets: S | None, key_where: S | None
) -> tuple[S, list[set[int]]]:
    """All candidates: a key that is left out is gone."""
    if keys is None or key_targets is None:
        return x, label_sets(y)
    here = np.ones(len(keys), bool) if key_where is None else key_where
    return np.concatenate([x, keys[here]]), label_sets(y) + label_sets(key_targets[here])


def supcon(
    x: S,
    y: S,
    positives: str = "jaccard",
    temperature: float = 0.1,
    keys: S | None = None,
    key_targets: S | None = None,
    key_where: S | None = None,
) -> S:
    points, sets = with_keys(x, y, keys, key_targets, key_where)
    own = range(len(x))
    weight = row_normalised(sets[: len(x)], sets, own, positives)
    return anchored(x, points, own, weight, temperature)


def mulsupcon(
    x: S,
    y: S,
    temperature: float = 0.1,
    keys: S | None = None,
    key_targets: S | None = None,
    key_where: S | None = None,
) -> S:
    points, sets = with_keys(x, y, keys, key_targets, key_where)
    own = range(len(x))
    weight = label_normalised(sets[: len(x)], sets, own, lambda i, j: 1.0)
    return anchored(x, points, own, weight, temperature)


def prototype_contrastive(x: S, prototypes: S, y: S, temperature: float = 0.1) -> S:
    sets = label_sets(y)
    own = [None] * len(x)
    return anchored(
        x, prototypes, own, lambda i, j: (j in sets[i]) / max(len(sets[i]), 1), temperature
    )


def msc(
    x: S, prototypes: S, y: S, temperature: float = 0.1, alpha: float = 1.0, beta: float = 0.1
) -> S:
    n, sets = len(x), label_sets(y)
    everyone = sets + [{label} for label in range(len(prototypes))]

    def factor(i: int, j: int) -> float:
        return alpha / len(sets[i] | sets[j]) if j < n else 1.0

    weight = label_normalised(sets, everyone, range(n), factor)
    betas = [beta] * n + [1.0] * len(prototypes)
    points = np.concatenate([x, prototypes])
    return anchored(x, points, range(n), weight, temperature, betas)


def mscrg(
    x: S,
    prototypes: S,
    y: S,
    temperature: float = 0.1,
    alpha: float = 0.0,
    regularize: bool = True,
    at: S | None = None,
) -> S:
    """With what is taken from the positives computed at the embeddings `at`."""
    sets = label_sets(y) + [{label} for label in range(len(prototypes))]
    points = np.concatenate([x, prototypes])
    own = range(len(points))
    weight = label_normalised(sets, sets, own, overlap_factor(sets, sets, alpha))
    values = anchored(points, points, own, weight, temperature)
    if not regularize:
        return values
    fixed = points if at is None else np.concatenate([at, prototypes])
    for i in own:
        others = [j for j in own if j != i]
        exponents = [cosine(fixed[i], fixed[j]) / temperature for j in others]
        for j, exponent in zip(others, exponents, strict=True):
            q = weight(i, j)
            if q:
                excess = max(np.exp(exponent - np.logaddexp.reduce(exponents)) - q, 0.0)
                values[i] -= excess * cosine(points[i], points[j]) / temperature
    return values


def n_pair(anchors: S, positives: S, regularization: float = 0.0) -> S:
    values = []
    for i, a in enumerate(anchors):
        scores = [float(a @ p) for p in positives]
        size = float(a @ a + positives[i] @ positives[i])
        values.append(np.logaddexp.reduce(scores) - scores[i] + regularization * size)
    return np.array(values, dtype=float)


def lifted_structure(x: S, y: S, margin: float = 1.0) -> S:
    sets = label_sets(y)
    lengths = [np.linalg.norm(a) or 1.0 for a in x]
    unit = [a / length for a, length in zip(x, lengths, strict=True)]

    def distance(i: int, j: int) -> float:
        return float(np.linalg.norm(unit[i] - unit[j]))

    everyone = range(len(x))
    values = np.zeros(len(x))
    for i in everyone:
        for j in everyone:
            if i == j or not sets[i] & sets[j]:
                continue
            pushes = [
                margin - distance(a, k)
                for a in (i, j)
                for k in everyone
                if k != a and not sets[a] & sets[k]
            ]
            if pushes:
                values[i] += 0.5 * max(0.0, np.logaddexp.reduce(pushes) + distance(i, j)) ** 2
    return values
