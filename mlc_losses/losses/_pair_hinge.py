"""The hinge over the pairs of a positive and a negative label, by sorting: no `[L, L]` array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import label_order, label_sum, labels_together
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import entries_at
from mlc_losses._array.row_rules import SharedTermsRule, apply_rule
from mlc_losses._array.scatter import inverse_permuted
from mlc_losses.losses._pair_sides import pair_sides


def pair_hinge(
    xp: Any, logits: Any, targets: Any, where: Any, margin: Any, rank_weight: Any = None
) -> Any:
    """`Σ_P w(r_p) Σ_N max(0, m + s_n - s_p)` with `r_p = #{n : m + s_n > s_p}`.

    The weight, a module's own function of the ranks, has no gradient; None is 1. The value is a sum
    of terms that are not negative, and the derivatives are counts: neither loses digits, however
    many labels there are.
    """
    require_all_labels(xp, "sorts all the scores of an example")
    rule = _PairHinge(rank_weight or xp.ones_like)
    return apply_rule(xp, rule, (logits, targets), (margin,), where, wanted=1)[0]


@dataclass(frozen=True)
class _PairHinge(SharedTermsRule):
    """The rule of `pair_hinge`: one sort gives value and derivative."""

    rank_weight: Callable[[Any], Any]
    derives_from_values = False

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any]:
        return self.values_and_derivative(xp, params, where, *arrays)[0]

    def values_and_derivative(
        self, xp: Any, params: Any, where: Any, logits: Any, targets: Any
    ) -> tuple[tuple[Any], Any]:
        if shape_of(logits)[-1] == 0:
            return (label_sum(logits),), logits
        sides = pair_sides(xp, where, logits, targets)
        scores, positive, negative = map(labels_together, sides)
        keys = xp.where(negative, scores + params[0], scores)
        value, found = _hinge_value_and_derivatives(keys, positive, negative, self.rank_weight)
        # Where a key that counts is infinite the value is; a NaN is NaN whether it counts or not.
        counts = (found != 0) | xp.isnan(keys)
        infinite = xp.where(counts & ~xp.isfinite(keys), keys, 0.0)
        return (value + label_sum(found * infinite),), found


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
