"""Sigmoid cross-entropy of each label, summed over the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlc_losses._array.namespace import as_dtype, device_of, is_0, is_number
from mlc_losses._array.ops import (
    broadcast_like,
    decided,
    finite,
    magnitude,
    relevance,
    sigmoid,
    softplus,
    weighed,
)
from mlc_losses._array.row_rules import Formula, LabelSum, is_finite, masked_arrays, sum_over_labels
from mlc_losses.losses._powers import sigmoid_power


def cross_entropy(
    xp: Any,
    logits: Any,
    targets: Any,
    where: Any = None,
    positive_weight: Any = None,
    negative_weight: Any = None,
) -> Any:
    """`Σ p y softplus(-s) + n (1 - y) softplus(s)`, for targets of any dtype in [0, 1].

    The weights p and n are numbers, or arrays that are broadcast against the logits; None is 1.
    """
    if positive_weight is None and negative_weight is None:
        return sum_over_labels(xp, _CROSS_ENTROPY, (logits, targets), where=where)
    weights = (_of_cells(xp, weight, logits) for weight in (positive_weight, negative_weight))
    return sum_over_labels(xp, _WEIGHTED, (logits, targets, *weights), where=where)


def hard_cross_entropy(xp: Any, logits: Any, targets: Any, where: Any = None) -> Any:
    """The same of hard targets, which are relevant above 1/2."""
    return sum_over_labels(xp, _HARD_CROSS_ENTROPY, (logits, targets), where=where)


def _of_cells(xp: Any, weight: Any, logits: Any) -> Any:
    if weight is None or is_number(weight):
        one = (1,) * logits.ndim
        number = 1.0 if weight is None else weight
        weight = xp.full(one, number, dtype=logits.dtype, device=device_of(logits))
    return broadcast_like(xp, weight, logits)


def nll(weights: Formula, *by_others: Formula | None) -> LabelSum:
    """The rule of `Σ p softplus(-s) + n softplus(s)`: `p, n = weights(xp, params, s, *others)`.

    The weights are at least 0; one of 0 removes its term even where that is infinite. `by_others`
    are the derivatives by the other arrays. Weights made before the rule would be arrays to keep.
    """

    def term(xp: Any, params: Any, logits: Any, *others: Any) -> Any:
        positive, negative = weights(xp, params, logits, *others)
        size = magnitude(logits)
        linear = weighed(size, xp.where(logits >= 0, negative, positive))
        return linear + (positive + negative) * xp.log1p(xp.exp(-size))

    def by_logits(xp: Any, params: Any, logits: Any, *others: Any) -> Any:
        positive, negative = weights(xp, params, logits, *others)
        return negative * sigmoid(logits) - positive * sigmoid(-logits)

    return LabelSum(term, (by_logits, *by_others))


@dataclass(frozen=True)
class _CrossEntropy(LabelSum):
    """Of targets that `as_floats(xp, targets, dtype)` makes floats."""

    as_floats: Formula = as_dtype

    def small_values(self, xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> Any:
        """Of hard targets, by the logits with the sign of a mistake."""
        if where is not None or targets.requires_grad:
            return None
        y = self.as_floats(xp, targets, logits.dtype)
        if not y.equal(y * y):
            return None
        total = softplus(logits * xp.rsub(y, 1.0, alpha=2.0)).sum(-1)
        return (total,) if is_finite(total) else None

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        logits, targets = masked_arrays(xp, where, arrays)
        # log(1 + e^-|s|) = -log(1 - p), by a sigmoid, which takes half the time of an exponential
        p = logits.abs().neg_().sigmoid_()
        p = _halved(_halved(p if where is None else p.mul_(where)))
        # two sums of numbers of one sign: the memory of the first terms serves for the others
        rest = p.neg_().log1p_().sum(-1)
        y = self.as_floats(xp, targets, logits.dtype)
        total = logits.relu().addcmul_(logits, y, value=-1.0).sum(-1).sub_(rest)
        return (total,) if is_finite(total) else None

    def finite_derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, out: Any, *arrays: Any
    ) -> Any:
        if index != 0:
            return None
        logits, targets = masked_arrays(xp, where, arrays)
        found = xp.sigmoid(logits, out=out).sub_(self.as_floats(xp, targets, logits.dtype))
        return (found if where is None else found.mul_(where),)


def _halved(p: Any) -> Any:
    """Half as many numbers, with the same sum of `log(1 - p)`; a logarithm takes longer than this.

    `1 - (1 - p)(1 - q)` replaces each pair, without cancellation. Done twice, what is at most 1/2
    stays at most 15/16, and the logarithm keeps its digits.
    """
    pairs = p.shape[-1] // 2
    kept, others = p.tensor_split((p.shape[-1] - pairs,), dim=-1)
    kept[..., :pairs].lerp_(p.new_ones(()), others)
    return kept


def _rule(as_floats: Formula, by_targets: Formula | None) -> _CrossEntropy:
    """Its formulas make the targets floats: made before, they would be one more array to keep."""

    def term(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
        y, size = as_floats(xp, targets, logits.dtype), magnitude(logits)
        wrong_side = xp.where(logits >= 0, 1.0 - y, y)
        return wrong_side * xp.where(wrong_side > 0, size, 0.0) + xp.log1p(xp.exp(-size))

    def by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
        return sigmoid(logits) - as_floats(xp, targets, logits.dtype)

    return _CrossEntropy(term, (by_logits, by_targets), as_floats=as_floats)


def _by_targets(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    return finite(xp, -logits)


_CROSS_ENTROPY = _rule(as_dtype, _by_targets)
_HARD_CROSS_ENTROPY = _rule(relevance, None)


def _sides(xp: Any, params: Any, logits: Any, targets: Any, p: Any, n: Any) -> tuple[Any, Any]:
    y = as_dtype(xp, targets, logits.dtype)
    return p * y, n * (1.0 - y)


def _weighted_by_targets(xp: Any, params: Any, logits: Any, targets: Any, p: Any, n: Any) -> Any:
    return p * finite(xp, softplus(-logits)) - n * finite(xp, softplus(logits))


def _weighted_by_positive(xp: Any, params: Any, logits: Any, targets: Any, p: Any, n: Any) -> Any:
    return as_dtype(xp, targets, logits.dtype) * finite(xp, softplus(-logits))


def _weighted_by_negative(xp: Any, params: Any, logits: Any, targets: Any, p: Any, n: Any) -> Any:
    return (1.0 - as_dtype(xp, targets, logits.dtype)) * finite(xp, softplus(logits))


_WEIGHTED = nll(_sides, _weighted_by_targets, _weighted_by_positive, _weighted_by_negative)


def signed(xp: Any, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Relevance, the sign of a mistake, and each logit signed so: the larger, the more wrong."""
    relevant = relevance(xp, targets, logits.dtype)
    sign = 1.0 - 2.0 * relevant
    return relevant, sign, sign * logits


def by_side(xp: Any, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """What is positive, and the signed logits of the positives and of the negatives.

    Each side sees the labels of the other at 0, so that neither can spoil the other.
    """
    relevant, _, wrong = signed(xp, logits, targets)
    is_positive = relevant > 0
    return is_positive, xp.where(is_positive, wrong, 0.0), xp.where(is_positive, 0.0, wrong)


def blended(relevant: Any, positive: Any, negative: Any) -> Any:
    """Each side's own, of numbers that are finite."""
    return relevant * positive + (1.0 - relevant) * negative


def sigmoids_and_nll(xp: Any, wrong: Any) -> tuple[Any, Any, Any]:
    """`σ(x)`, `σ(-x)` and `log(1 + e^x)`, each to its last digit, of one exponential."""
    small = xp.exp(-magnitude(wrong))
    larger = 1.0 / (1.0 + small)
    smaller, is_wrong = small * larger, wrong >= 0
    p, q = xp.where(is_wrong, larger, smaller), xp.where(is_wrong, smaller, larger)
    return p, q, xp.where(is_wrong, wrong, 0.0) + xp.log1p(small)


def faded(wrong: Any, gamma: Any) -> Any:
    """`σ(x)^γ softplus(x)`: cross-entropy that fades where the label is right."""
    if is_0(gamma):
        return softplus(wrong)
    return sigmoid_power(wrong, gamma) * softplus(wrong)


def faded_derivative(wrong: Any, gamma: Any) -> Any:
    wrong = decided(wrong)
    p = sigmoid(wrong)
    if is_0(gamma):
        return p
    return sigmoid_power(wrong, gamma) * (gamma * (1.0 - p) * softplus(wrong) + p)
