"""The gap between the expected probabilities of both sides, each leaning to its hard labels."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.labels import label_max, label_sum
from mlc_losses._array.ops import sigmoid, softplus, stop_gradient
from mlc_losses._array.row_rules import SharedTermsRule, apply_rule
from mlc_losses.losses._pair_sides import pair_sides


def leaning_gap_loss(xp: Any, logits: Any, targets: Any, where: Any, params: Any) -> Any:
    """`c / k softplus(k (E_N - E_P + m))`; 0 where no label is known.

    `E_P` and `E_N` are the means of `p = σ(s)` over each side, with weights `e^(-p / λ_pos)` and
    `e^(p / λ_neg)`. The parameters are m, λ_pos, λ_neg, k and c.
    """
    return apply_rule(xp, _LEANING_GAP, (logits, targets), params, where, wanted=1)[0]


class _LeaningGap(SharedTermsRule):
    """The rule of `leaning_gap_loss`."""

    derives_from_values = False

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any]:
        return (_loss(xp, params, _both_sides(xp, params, where, *arrays)),)

    def values_and_derivative(
        self, xp: Any, params: Any, where: Any, *arrays: Any
    ) -> tuple[tuple[Any], Any]:
        *_, slope, scale = params
        sides = _both_sides(xp, params, where, *arrays)
        by_gap = (scale * sigmoid(slope * sides.gap))[..., None]
        by_p = by_gap * (_by_p(sides.high, sides.p) - _by_p(sides.low, sides.p))
        return (_loss(xp, params, sides),), by_p * (sides.p * sigmoid(-sides.scores))


_LEANING_GAP = _LeaningGap()


class _LeaningMean(NamedTuple):
    mean: Any  # 0 where the side is empty
    weights: Any
    total: Any  # of the weights, 1 where there is none
    temperature: Any
    empty: Any


class _Sides(NamedTuple):
    scores: Any
    p: Any
    high: _LeaningMean
    low: _LeaningMean
    gap: Any


def _both_sides(xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> _Sides:
    """`E_N`, `E_P` and `E_N - E_P + m`."""
    margin, lambda_pos, lambda_neg, *_ = params
    scores, positive, negative = pair_sides(xp, where, logits, targets)
    p = sigmoid(scores)
    high = _leaning_mean(xp, p, negative, lambda_neg)
    low = _leaning_mean(xp, p, positive, -lambda_pos)
    return _Sides(scores, p, high, low, high.mean - xp.where(low.empty, 1.0, low.mean) + margin)


def _leaning_mean(xp: Any, p: Any, side: Any, temperature: Any) -> _LeaningMean:
    """Mean of p over a side with weights `e^(p / temperature)`."""
    exponents = p / temperature
    peak = label_max(stop_gradient(exponents), side)
    empty = peak == -math.inf
    peak = xp.where(empty, 0.0, peak)[..., None]
    weights = xp.exp(xp.where(side, exponents - peak, -math.inf))
    total = xp.where(empty, 1.0, label_sum(weights))
    return _LeaningMean(label_sum(weights * p) / total, weights, total, temperature, empty)


def _by_p(side: _LeaningMean, p: Any) -> Any:
    """The derivative of the mean by each p."""
    share = side.weights / side.total[..., None]
    return share * (1.0 + (p - side.mean[..., None]) / side.temperature)


def _loss(xp: Any, params: Any, sides: _Sides) -> Any:
    *_, slope, scale = params
    none_known = sides.high.empty & sides.low.empty
    return xp.where(none_known, 0.0, scale / slope * softplus(slope * sides.gap))
