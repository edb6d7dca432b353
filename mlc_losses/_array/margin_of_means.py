"""The AUC margin of each row: variances of both sides, and a squared hinge on their means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlc_losses._array.labels import label_count, label_sum
from mlc_losses._array.namespace import namespace
from mlc_losses._array.ops import sigmoid
from mlc_losses._array.row_rules import RowRule, apply_rule_over_batch


def margin_of_means(scores: Any, positive: Any, negative: Any, margin: Any) -> Any:
    """`Var_P(h) + Var_N(h) + max(0, m + mean_N(h) - mean_P(h))²`, `h = σ(s)`, over the examples of
    `[B, L]`: `[L]`; 0 where a side is empty.
    """
    xp = namespace(scores=scores)
    arrays = (scores, positive, negative)
    return apply_rule_over_batch(xp, _MarginOfMeans(), arrays, (margin,))[0]


class _Sides(NamedTuple):
    """How far each example is from right, 0 where it is not on the side; and the means of that."""

    missed: Any  # 1 - h of the positives
    raised: Any  # h of the negatives
    num_positive: Any  # at least 1
    num_negative: Any
    mean_missed: Any
    mean_raised: Any
    excess: Any  # of the margin, at least 0
    one_sided: Any


@dataclass(frozen=True)
class _MarginOfMeans(RowRule):
    """Of `(scores, positive, negative)`."""

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        scores, positive, negative = arrays
        sides = _sides(xp, params, *arrays)
        missed = xp.where(positive, sides.missed - sides.mean_missed[..., None], 0.0)
        raised = xp.where(negative, sides.raised - sides.mean_raised[..., None], 0.0)
        variances = (
            label_sum(missed * missed) / sides.num_positive
            + label_sum(raised * raised) / sides.num_negative
        )
        # even there a NaN is not to pass for a number
        nothing = label_sum(xp.where(xp.isnan(scores), scores, 0.0))
        return (xp.where(sides.one_sided, nothing, variances + sides.excess * sides.excess),)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        if index > 0:
            return (None,)
        scores, positive, negative = arrays
        sides = _sides(xp, params, *arrays)
        by_missed = sides.missed + (sides.excess - sides.mean_missed)[..., None]
        by_raised = sides.raised + (sides.excess - sides.mean_raised)[..., None]
        derivative = xp.where(
            positive,
            -by_missed / sides.num_positive[..., None],
            xp.where(negative, by_raised / sides.num_negative[..., None], 0.0),
        )
        derivative = xp.where(sides.one_sided[..., None], 0.0, derivative)
        return (2.0 * derivative * (sigmoid(scores) * sigmoid(-scores)),)


def _sides(xp: Any, params: Any, scores: Any, positive: Any, negative: Any) -> _Sides:
    missed = xp.where(positive, sigmoid(-scores), 0.0)
    raised = xp.where(negative, sigmoid(scores), 0.0)
    num_positive, num_negative = label_count(positive, scores), label_count(negative, scores)
    one_sided = (num_positive == 0) | (num_negative == 0)
    num_positive = xp.where(num_positive == 0, 1.0, num_positive)
    num_negative = xp.where(num_negative == 0, 1.0, num_negative)
    mean_missed, mean_raised = label_sum(missed) / num_positive, label_sum(raised) / num_negative
    # m + mean_N(h) - mean_P(h), which near 0 keeps its digits for m = 1
    excess = xp.clip((params[0] - 1.0) + (mean_missed + mean_raised), 0.0, None)
    return _Sides(
        missed, raised, num_positive, num_negative, mean_missed, mean_raised, excess, one_sided
    )
