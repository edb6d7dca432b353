"""Weights of pairs from label sets: for a block of anchors, as functions of their labels.

Each takes the labels of the candidates and returns `weights(own, allowed)`, which gives the
weights `[A, C]` of anchors with the labels `own` `[A, L]`; 0 where a pair is not allowed.

A weight that is normalised label by label, `q_ij = f_ij Σ_l y_il y_jl / (|y_i| N_il)` with
`N_il = Σ_j f_ij y_jl`, is two matrix products, `N = f Y` and `q = f · ((Y / |y| N) Yᵀ)`. No array
of pairs times labels is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.arguments import checked_float
from mlc_losses._array.labels import label_sum
from mlc_losses._array.namespace import is_0, is_number, namespace, shape_of
from mlc_losses.losses.contrastive._similarity import (
    candidate_counts,
    candidate_indices,
    candidate_sum,
    products,
)

Weights = Callable[[Any, Any], Any]


def jaccard(others: Any) -> Weights:
    def weights(own: Any, allowed: Any) -> Any:
        shared, union = _overlaps(own, others)
        xp = namespace(own=own)
        return _normalised(xp.where(allowed, shared / xp.where(union > 0, union, 1.0), 0.0))

    return weights


def shared_label(others: Any) -> Weights:
    def weights(own: Any, allowed: Any) -> Any:
        return _normalised(_as_float(allowed & (products(own, others) > 0), own))

    return weights


def equal_sets(others: Any) -> Weights:
    def weights(own: Any, allowed: Any) -> Any:
        shared, union = _overlaps(own, others)
        return _normalised(_as_float(allowed & (shared == union) & (shared > 0), own))

    return weights


def overlap(others: Any, alpha: Any) -> Weights:
    alpha = checked_float("alpha", alpha)
    sizes = label_sum(others)[None, :]

    def weights(own: Any, allowed: Any) -> Any:
        if is_0(alpha):
            return label_normalised(_as_float(allowed, own), own, others)
        xp = namespace(own=own)
        shared = products(own, others)
        subset = _as_float(shared == sizes, own)
        if is_number(alpha):
            factor = subset if alpha < 0 else _share(xp, shared, sizes) ** alpha
        else:  # an array of one number is not looked at
            power = xp.astype(alpha, own.dtype)
            some = xp.where(shared > 0, _share(xp, shared, sizes), 1.0) ** power
            some = xp.where((shared > 0) | (power == 0), some, 0.0)
            factor = xp.where(power < 0, subset, some)
        return label_normalised(xp.where(allowed, factor, 0.0), own, others)

    return weights


def _share(xp: Any, shared: Any, sizes: Any) -> Any:
    """What part of the candidate's labels the anchor has too."""
    return shared / xp.where(sizes > 0, sizes, 1.0)


def union_weighted(others: Any, prototypes: int, alpha: Any) -> Weights:
    """Weights of ``msc``; the last of the candidates are prototypes, whose factor is 1."""

    def weights(own: Any, allowed: Any) -> Any:
        xp = namespace(own=own)
        _, union = _overlaps(own, others)
        numbers = candidate_indices(others)[None, :]
        of_batch = numbers < shape_of(others)[0] - prototypes
        factor = xp.where(of_batch, alpha / xp.where(union > 0, union, 1.0), 1.0)
        return label_normalised(xp.where(allowed, factor, 0.0), own, others)

    return weights


def label_normalised(factor: Any, own: Any, others: Any) -> Any:
    """`q_ij = f_ij Σ_l y_il y_jl / (|y_i| N_il)`; a label that no candidate has adds nothing."""
    xp = namespace(own=own)
    total = label_sum(own)[:, None] * candidate_counts(factor, others)
    share = xp.where((own > 0) & (total > 0), 1.0 / xp.where(total > 0, total, 1.0), 0.0)
    return factor * products(share, others)


def _overlaps(own: Any, others: Any) -> tuple[Any, Any]:
    """Sizes of the intersections and of the unions, `[A, C]`."""
    shared = products(own, others)
    return shared, label_sum(own)[:, None] + label_sum(others)[None, :] - shared


def _normalised(weights: Any) -> Any:
    total = candidate_sum(weights)[:, None]
    return weights / namespace(weights=weights).where(total == 0, 1.0, total)


def _as_float(mask: Any, like: Any) -> Any:
    return namespace(mask=mask).astype(mask, like.dtype)


BY_POSITIVES = {"jaccard": jaccard, "any": shared_label, "all": equal_sets}
