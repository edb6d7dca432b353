"""The logistic over the pairs of a positive and a negative label, without an `[L, L]` array.

It has no shortcut. It goes block of labels by block of labels, value and derivatives apart, so that
differentiating it keeps no block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import label_sum, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.loops import map_rows
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import sigmoid, softplus, with_axis_at
from mlc_losses._array.row_rules import RowRule, apply_rule
from mlc_losses.losses._pair_sides import pair_sides

# entries of one block of pairs, and the labels in it: the second bounds a block under `vmap`,
# where the size of the batch is not to be seen
_BLOCK_SIZE = 2**20
_BLOCK_LABELS = 32
# labels of a block where it is never written to memory
_FUSED_LABELS = 128


def pair_logistic(xp: Any, logits: Any, targets: Any, where: Any) -> Any:
    """`Σ_P Σ_N log(1 + e^(s_n - s_p))`, in blocks of labels, gradient included."""
    require_all_labels(xp, "compares every positive label with every negative one")
    return apply_rule(xp, _PairLogistic(), (logits, targets), where=where)[0]


@dataclass(frozen=True)
class _PairLogistic(RowRule):
    """The rule of `pair_logistic`."""

    derives_from_values = False

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any]:
        return (_value(*_finite_sides(xp, where, *arrays)),)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any]:
        return (_derivatives(*_finite_sides(xp, where, *arrays)) if index == 0 else None,)


def _finite_sides(xp: Any, where: Any, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """A label right at infinity makes no pair: the other one of a pair may be wrong at infinity."""
    scores, positive, negative = pair_sides(xp, where, logits, targets)
    # written so that NaN makes a pair
    return scores, positive & ~(scores == math.inf), negative & ~(scores == -math.inf)


def _value(scores: Any, positive: Any, negative: Any) -> Any:
    """The value, without a gradient rule."""
    xp = namespace(scores=scores)
    rivals = xp.where(negative, scores, 0.0), negative
    return label_sum(_by_blocks(_losses, rivals, (xp.where(positive, scores, 0.0), positive)))


def _losses(rivals: Any, negative: Any, own: Any, positive: Any) -> Any:
    """The losses of some positives against all negatives."""
    xp = namespace(own=own)
    pairs = positive[..., :, None] & negative[..., None, :]
    gaps = rivals[..., None, :] - own[..., :, None]
    return label_sum(softplus(xp.where(pairs, gaps, -math.inf)))


def _derivatives(scores: Any, positive: Any, negative: Any) -> Any:
    """Its derivative by the scores: `Σ_P σ(s_n - s_p)` for a negative, `-Σ_N` for a positive."""
    labels = scores, positive, negative
    return _by_blocks(_derivatives_of, labels, labels)


def _derivatives_of(
    scores: Any, positive: Any, negative: Any, own: Any, own_positive: Any, own_negative: Any
) -> Any:
    """The derivatives of some labels against all."""
    xp = namespace(own=own)
    pairs = (own_positive[..., :, None] & negative[..., None, :]) | (
        own_negative[..., :, None] & positive[..., None, :]
    )
    sign = xp.where(own_positive, -xp.ones_like(own), 1.0)
    gaps = sign[..., :, None] * (own[..., :, None] - scores[..., None, :])
    return sign * label_sum(sigmoid(xp.where(pairs, gaps, -math.inf)))


def _by_blocks(rows: Callable[..., Any], every: tuple[Any, ...], own: tuple[Any, ...]) -> Any:
    """`rows(*every, *own)` `[..., L]`, computed for a few of the `own` labels at a time."""
    every, own = (tuple(map(labels_together, arrays)) for arrays in (every, own))
    length = max(1, min(_BLOCK_LABELS, -(-_BLOCK_SIZE // max(1, math.prod(shape_of(own[0]))))))

    def block(*own: Any) -> tuple[Any]:
        return (with_axis_at(rows(*every, *(with_axis_at(x, 0, -1) for x in own)), -1, 0),)

    own = tuple(with_axis_at(x, -1, 0) for x in own)
    return with_axis_at(map_rows(block, own, length, _FUSED_LABELS)[0], 0, -1)
