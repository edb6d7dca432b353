"""The hinge over the pairs of a positive and a negative label, by sorting: no `[L, L]` array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.labels import label_order, label_sum, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import entries_at, stop_gradient
from mlc_losses._array.scatter import inverse_permuted


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
    # of equal keys the negatives come first, since a tie is not a violation
    order = label_order(keys, positive)

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
    return value, inverse_permuted(is_negative * below - weights * above, order)
