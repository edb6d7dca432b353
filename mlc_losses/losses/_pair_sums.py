"""Sums over pairs of labels, with their gradient rules.

ZLPR adds the two sides of the two-sided log-sum-exp. LSEP and others join them to one sum of pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.namespace import as_dtype, is_number, namespace
from mlc_losses._array.ops import relevance, scaled, sigmoid, softplus
from mlc_losses._array.row_rules import (
    RowRule,
    apply_rule,
    apply_rule_over_batch,
    is_finite,
    masked_arrays,
)
from mlc_losses.losses._two_sided import (
    SideSums,
    TwoSided,
    Zlpr,
)

# subtracted from the logits of the other side: larger than any logit that counts, but finite
_OFF_SIDE = 1e30
# its exponential is a normal number, and adds nothing to 1
_SMALLEST_EXPONENT = -87.0
# its exponential is finite in every dtype
_LARGEST_EXPONENT = 88.0
# smaller than any sum that is used: it keeps a quotient finite
_TINY = 1e-30


def two_sided_logsumexp(xp: Any, logits: Any, targets: Any, bound: Any, where: Any = None) -> Any:
    """`log(e^b + Σ (1 - y) e^s) + log(e^-b + Σ y e^-s)` over the labels.

    Targets are weights in [0, 1], in the dtype of the logits; if they are bool or integers, one
    exponential does for two.
    `bound` is one value b per example; None is 0.
    """
    hard = targets.dtype != logits.dtype
    arrays = (logits, targets) if bound is None else (logits, targets, bound)
    return apply_rule(xp, Zlpr(hard), arrays, where=where, wanted=1)[0]


def pair_loss(
    logits: Any,
    targets: Any,
    where: Any = None,
    *,
    negative_temperature: Any = 1.0,
    positive_temperature: Any = 1.0,
    over_batch: bool = False,
) -> Any:
    """`log(1 + Σ_N Σ_P e^(s_n - s_p))`; with temperatures `(Σ_N e^(s_n / T))^T` and so for P.

    Targets are relevant above 1/2, in any dtype; NaN is on no side. `over_batch`: for each label
    over the examples of `[B, L]`.

    0 where either side is empty, whatever the other one is. The shifts are added first, so that
    it is accurate where the sides cancel.
    """
    xp = namespace(logits=logits, targets=targets)
    temperatures = (negative_temperature, positive_temperature)
    apply = apply_rule_over_batch if over_batch else apply_rule
    return apply(xp, _PairLoss(over_batch), (logits, targets), temperatures, where, wanted=1)[0]


@dataclass(frozen=True)
class _PairLoss(RowRule):
    """The rule of `pair_loss`, of which the temperatures are the parameters.

    Values: the loss, and the `SideSums` it is made of.
    """

    # that it is not kept: the derivative over the labels is kept already
    finds_derivative_again: bool

    @property
    def keeps_derivative(self) -> bool:
        return not self.finds_derivative_again

    def values(self, xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> Any:
        logits, targets = _over_temperatures(xp, logits, targets, *params)
        sums = SideSums(*_SIDES.values(xp, (), where, logits, targets))
        return softplus(_log_pair_sum(sums, *params)), *sums

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, targets: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return (None,) * 5
        sums = SideSums(*values[1:])
        logits, targets = _over_temperatures(xp, logits, targets, *params)
        found = _SIDES.derivatives(0, xp, (), where, sums, logits, targets)
        _, negative, _, positive = found
        share = sigmoid(_log_pair_sum(sums, *params))[..., None]
        negative_t, positive_t = params
        # by the logits over their temperature
        by_sides = negative / negative_t, None, positive / positive_t
        return share * (negative + positive), None, *by_sides

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """The loss alone; without a shift where no sum and no product of two may overflow."""
        logits, targets = masked_arrays(xp, where, arrays)
        if wanted != 1 or not logits.numel():
            return None
        negative_t, positive_t = params
        positive = relevance(xp, targets, logits.dtype)
        largest = logits.abs().max().item() * max(1.0, 1.0 / negative_t, 1.0 / positive_t)
        if not largest < _OFF_SIDE / 10:
            return None
        of_sums = (negative_t + positive_t) * math.log(logits.shape[-1])
        if not 2.0 * largest < _LARGEST_EXPONENT - of_sums:
            return _shifted_values(xp, params, where, derivative, logits, positive)
        has_temperatures = negative_t != 1.0 or positive_t != 1.0
        term = (logits / negative_t if has_temperatures else logits).exp()
        negative_terms = term.addcmul(term, positive, value=-1.0)
        positive_terms = (
            positive * (logits / -positive_t).exp_() if has_temperatures else positive / term
        )
        if where is not None:
            negative_terms, positive_terms = negative_terms.mul_(where), positive_terms.mul_(where)
        negative_sum, positive_sum = negative_terms.sum(-1, True), positive_terms.sum(-1, True)
        product = (
            negative_sum**negative_t * positive_sum**positive_t
            if has_temperatures
            else negative_sum * positive_sum
        )
        if derivative is not None:
            whole = 1.0 + product
            # by each sum: the product without it; an empty side makes it 0
            by_negative, by_positive = positive_sum, negative_sum
            if has_temperatures:
                by_negative = product / negative_sum.clamp(_TINY)
                by_positive = product / positive_sum.clamp(_TINY)
            xp.mul(negative_terms, by_negative / whole, out=derivative)
            derivative.addcmul_(positive_terms, by_positive / whole, value=-1.0)
        return (product.squeeze(-1).log1p(),)

    def finite_derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, out: Any, *arrays: Any
    ) -> Any:
        if index != 0:
            return None
        derivative = xp.empty_like(arrays[0]) if out is None else out
        self.finite_values(xp, params, where, 1, derivative, *arrays)
        return derivative, None, None, None, None


# both temperatures are its parameters: 1
LSEP = _PairLoss(finds_derivative_again=False)


def _shifted_values(
    xp: Any, params: Any, where: Any, derivative: Any, logits: Any, positive: Any
) -> Any:
    """Without a choice between the sides: it would cost as much as an exponential."""
    negative_t, positive_t = params
    off_sides = (positive, 1.0 - positive)
    if where is not None:
        off_sides = tuple(xp.where(where, off, 1.0) for off in off_sides)
    negative_terms, negative_shift, negative_log, negative_empty = _side(
        logits * (1.0 / negative_t), off_sides[0]
    )
    positive_terms, positive_shift, positive_log, positive_empty = _side(
        logits * (-1.0 / positive_t), off_sides[1]
    )
    paired = (negative_t * negative_shift + positive_t * positive_shift) + (
        negative_t * negative_log + positive_t * positive_log
    )
    if not is_finite(paired):
        return None
    paired.masked_fill_(negative_empty | positive_empty, -math.inf)
    if derivative is not None:
        share = paired.sigmoid()
        xp.mul(negative_terms, (share * (-negative_log).exp_())[..., None], out=derivative)
        derivative.addcmul_(positive_terms, (share * (-positive_log).exp_())[..., None], value=-1.0)
        if where is not None:
            derivative.mul_(where)
    return (softplus(paired),)


def _side(exponents: Any, off_side: Any) -> tuple[Any, Any, Any, Any]:
    """On PyTorch, in place: terms, shift, and logarithm of a side, and whether it is empty."""
    exponents.sub_(off_side, alpha=_OFF_SIDE)
    peak = exponents.amax(-1)
    empty = peak < -_OFF_SIDE / 2
    shift = peak.masked_fill(empty, 0.0)
    # up to 0, and none so small that it would be slow
    terms = exponents.sub_(shift[..., None]).clamp_(min=_SMALLEST_EXPONENT).exp_()
    return terms, shift, terms.sum(-1).masked_fill_(empty, 1.0).log_(), empty


_SIDES = TwoSided(hard=True)


def _over_temperatures(
    xp: Any, logits: Any, targets: Any, negative_t: Any, positive_t: Any
) -> tuple[Any, Any]:
    """The logits, each over the temperature of its side, and which labels are positive.

    The latter is 1 or 0 in the dtype of the logits, or bool.
    """
    if xp.isdtype(targets.dtype, "real floating"):
        targets = relevance(xp, targets, logits.dtype)
    are_numbers = is_number(negative_t) and is_number(positive_t)
    if are_numbers and negative_t == positive_t == 1.0:
        return logits, targets
    factor = 1.0 / negative_t + as_dtype(xp, targets, logits.dtype) * (
        1.0 / positive_t - 1.0 / negative_t
    )
    # of huge logits the difference is to be finite
    is_smaller = are_numbers and min(negative_t, positive_t) >= 1.0
    return (logits * factor if is_smaller else scaled(logits, factor)), targets


def _is_empty(xp: Any, sums: SideSums) -> Any:
    """Whether either side is, and neither is NaN."""
    logs = (sums.negative_log, sums.positive_log)
    empty = (logs[0] == -math.inf) | (logs[1] == -math.inf)
    return empty & ~xp.isnan(logs[0]) & ~xp.isnan(logs[1])


def _log_pair_sum(sums: SideSums, negative_scale: Any, positive_scale: Any) -> Any:
    """The logarithm of the sum over pairs: both sides added; -inf where a side is empty."""
    xp = namespace(sums=sums.negative_log)
    logs = (sums.negative_log, sums.positive_log)
    empty = _is_empty(xp, sums)
    scales = (negative_scale, positive_scale)
    shifts = (sums.negative_shift, sums.positive_shift)
    # the shift of an infinite logarithm, the largest finite number, is ignored
    shift = sum(
        scale * xp.where(xp.isinf(log), 0.0, shift)
        for scale, shift, log in zip(scales, shifts, logs, strict=True)
    )
    log = sum(scale * xp.where(empty, 0.0, log) for scale, log in zip(scales, logs, strict=True))
    return xp.where(empty, -math.inf, shift + log)
