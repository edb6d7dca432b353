"""Sums over the pairs of a positive and a negative label, without an `[L, L]` array.

The hinge by sorting; the logistic has no shortcut, and goes block of labels by block of labels,
value and derivatives apart, so that differentiating it keeps no block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from mlc_losses._array.arguments import checked_labels
from mlc_losses._array.backend import is_jax_namespace, is_numpy_namespace, is_torch_namespace
from mlc_losses._array.labels import label_sum, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import (
    entries_at,
    relevant_and_missing,
    sigmoid,
    softplus,
    stop_gradient,
)

# entries of one block of pairs, and the labels in it: the second bounds a block under `vmap`,
# where the size of the batch is not to be seen
_BLOCK_SIZE = 2**20
_BLOCK_LABELS = 32
# labels of a block where it is never written to memory
_FUSED_LABELS = 128


def pair_arguments(
    logits: Any, targets: Any, where: Any, axis: int, logits_name: str = "logits"
) -> tuple[Any, Any, Any, Any]:
    """`(xp, scores, positive, negative)` of a loss, checked, with the label axis last.

    A label that `where` leaves out is on neither side, and its score is 0. The score of a label
    whose target is NaN is NaN.
    """
    xp, scores, targets, where = checked_labels(
        logits, targets, where, axis, logits_name=logits_name
    )
    positive, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is None:
        return xp, scores, positive, ~positive
    return xp, xp.where(where, scores, 0.0), positive & where, where & ~positive


def pair_hinge(
    scores: Any,
    positive: Any,
    negative: Any,
    margin: Any,
    rank_weight: Callable[[Any], Any] | None = None,
) -> Any:
    """`Σ_P w(r_p) Σ_N max(0, m + s_n - s_p)` with `r_p = #{n : m + s_n > s_p}`.

    The weight has no gradient. The value is a sum of terms that are not negative, and the
    derivatives are counts: neither loses digits, however many labels there are.
    """
    xp = namespace(scores=scores)
    require_all_labels(xp, "sorts all the scores of an example")
    if shape_of(scores)[-1] == 0:
        return label_sum(scores)
    scores, positive, negative = map(labels_together, (scores, positive, negative))
    keys = xp.where(negative, scores + margin, scores)
    value, derivatives = _hinge_value_and_derivatives(
        stop_gradient(keys), positive, negative, rank_weight or xp.ones_like
    )
    # A term of value 0 carries the derivatives. Where a key that counts is infinite it is infinite,
    # and the value with it; a NaN is NaN whether it counts or not.
    moved = xp.where((derivatives == 0) & ~xp.isnan(keys), 0.0, keys)
    still = stop_gradient(xp.where(xp.isfinite(moved), moved, 0.0))
    return value + label_sum(derivatives * (moved - still))


def _hinge_value_and_derivatives(
    keys: Any, positive: Any, negative: Any, rank_weight: Callable[[Any], Any]
) -> tuple[Any, Any]:
    """One sort of the keys, `s_n + m` and `s_p`, gives everything.

    A positive is violated by the negatives that follow it. Each step between neighbouring keys
    is part of the hinge of every positive before it with every negative behind it.
    """
    xp = namespace(keys=keys)
    order = _order(keys, positive)

    def in_order(x: Any) -> Any:
        return entries_at(x, order)

    is_negative = in_order(xp.astype(negative, keys.dtype))
    above = label_sum(is_negative)[..., None] - xp.cumulative_sum(is_negative, axis=-1)
    weights = in_order(xp.astype(positive, keys.dtype)) * rank_weight(above)
    below = xp.cumulative_sum(weights, axis=-1)
    # an infinite key either makes no violation or makes the loss infinite, which is seen to above
    keys = in_order(xp.where(xp.isfinite(keys), keys, 0.0))
    steps = keys[..., 1:] - keys[..., :-1]
    pairs = below[..., :-1] * above[..., :-1]
    # between two huge keys a step may be infinite, and times no pair NaN
    value = label_sum(xp.where(pairs == 0, 0.0, steps) * pairs)
    return value, _out_of_order(is_negative * below - weights * above, order)


def _order(keys: Any, positive: Any) -> Any:
    """Ids by ascending key; of equal keys the negatives first, since a tie is no violation."""
    xp = namespace(keys=keys)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(lambda *columns: xp.lexsort(columns), positive, keys)
    if is_numpy_namespace(xp):
        return xp.lexsort((positive, keys), axis=-1)
    first = xp.argsort(xp.astype(positive, xp.int8), axis=-1, stable=True)
    then = xp.argsort(entries_at(keys, first), axis=-1, stable=True)
    return entries_at(first, then)


def _out_of_order(x: Any, order: Any) -> Any:
    """`x`, given in the order of the ids, back at the places of the ids."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(lambda x, order: xp.zeros_like(x).at[order].set(x), x, order)
    if is_torch_namespace(xp):
        return xp.zeros_like(x).scatter(-1, order, x)
    return entries_at(x, xp.argsort(order, axis=-1))


def pair_logistic_value(scores: Any, positive: Any, negative: Any) -> Any:
    """The value, without a gradient rule."""
    xp = namespace(scores=scores)
    rivals = xp.where(negative, scores, 0.0), negative
    return label_sum(_by_blocks(_losses, rivals, (xp.where(positive, scores, 0.0), positive)))


def _losses(rivals: Any, negative: Any, own: Any, positive: Any) -> Any:
    """Of some positives against all negatives."""
    xp = namespace(own=own)
    pairs = positive[..., :, None] & negative[..., None, :]
    gaps = rivals[..., None, :] - own[..., :, None]
    return label_sum(softplus(xp.where(pairs, gaps, -math.inf)))


def pair_logistic_derivatives(scores: Any, positive: Any, negative: Any) -> Any:
    """Its derivative by the scores: `Σ_P σ(s_n - s_p)` for a negative, `-Σ_N` for a positive."""
    labels = scores, positive, negative
    return _by_blocks(_derivatives, labels, labels)


def _derivatives(
    scores: Any, positive: Any, negative: Any, own: Any, own_positive: Any, own_negative: Any
) -> Any:
    """Of some labels against all."""
    xp = namespace(own=own)
    pairs = (own_positive[..., :, None] & negative[..., None, :]) | (
        own_negative[..., :, None] & positive[..., None, :]
    )
    sign = xp.where(own_positive, -xp.ones_like(own), 1.0)
    gaps = sign[..., :, None] * (own[..., :, None] - scores[..., None, :])
    return sign * label_sum(sigmoid(xp.where(pairs, gaps, -math.inf)))


def _by_blocks(rows: Callable[..., Any], every: tuple[Any, ...], own: tuple[Any, ...]) -> Any:
    """`rows(*every, *own)` `[..., L]`, computed for a few of the `own` labels at a time."""
    xp = namespace(own=own[0])
    every, own = (tuple(map(labels_together, arrays)) for arrays in (every, own))
    shape = shape_of(own[0])
    count = shape[-1]
    length = max(1, min(_BLOCK_LABELS, -(-_BLOCK_SIZE // max(1, math.prod(shape)))))
    if count <= length:
        return rows(*every, *own)
    if is_jax_namespace(xp):
        return _jax_blocks()(rows, length, every, own)
    return xp.concat(
        [
            rows(*every, *(x[..., start : min(start + length, count)] for x in own))
            for start in range(0, count, length)
        ],
        axis=-1,
    )


@cache
def _jax_blocks() -> Callable[..., Any]:
    """Compiled once for functions and shapes, in eager code too."""
    import jax

    return jax.jit(_on_jax, static_argnums=(0, 1))


def _on_jax(rows: Callable[..., Any], length: int, every: Any, own: Any) -> Any:
    """As a loop: on a CPU it holds one block in memory, elsewhere XLA fuses blocks into sums."""
    import jax

    return jax.lax.platform_dependent(
        every,
        own,
        cpu=partial(_map_blocks, rows, length),
        default=partial(_map_blocks, rows, _FUSED_LABELS),
    )


def _map_blocks(rows: Callable[..., Any], length: int, every: Any, own: Any) -> Any:
    import jax

    *batch, count = own[0].shape
    blocks = -(-count // length)

    def cut(x: Any) -> Any:
        padding = [(0, 0)] * len(batch) + [(0, blocks * length - count)]
        return jax.numpy.moveaxis(jax.numpy.pad(x, padding).reshape(*batch, blocks, length), -2, 0)

    done = jax.lax.map(lambda block: rows(*every, *block), [cut(x) for x in own])
    return jax.numpy.moveaxis(done, 0, -2).reshape(*batch, blocks * length)[..., :count]
