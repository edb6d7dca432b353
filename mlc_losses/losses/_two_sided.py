"""The two-sided log-sum-exp: positives against negatives, each side with a threshold.

As a rule for `apply_rule`: three times as fast as differentiating the value operation by
operation, and right where that would be inf / inf.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from mlc_losses._array.namespace import as_dtype, device_of, namespace, shape_of
from mlc_losses._array.ops import finite
from mlc_losses._array.row_rules import RowRule, is_finite
from mlc_losses._array.term_sums import maxima_of_terms, quick_or_exact, sums_of_terms

# the largest exponent of a label over its side's total: the weight of the label is at least the
# smallest step from 1 to the next number, so e^exponent is at most the reciprocal of that step
_LARGEST_EXPONENT = 40.0


class SideSums(NamedTuple):
    """Both sides, each as `shift + log_total`.

    The shift is a constant as far as derivatives go. Kept apart, the derivatives `e^(s - shift) /
    total` are accurate even where the sum of the two has lost them to rounding (a logit of 1e4).
    """

    negative_shift: Any
    negative_log: Any
    positive_shift: Any
    positive_log: Any


@dataclass(frozen=True)
class TwoSided(RowRule):
    """The rule whose values are the `SideSums` of logits, targets and, if given, a bound `[...]`.

    Hard targets are 0 or 1 in any dtype. Where `where` is False a label is on neither side.
    """

    hard: bool

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        arrays = self._known(xp, where, *arrays)
        if len(arrays) == 2:
            return side_sums(xp, *arrays)
        return SideSums(*quick_or_exact(xp, _sums_without_peaks, _sums, params, arrays))

    def _known(self, xp: Any, where: Any, logits: Any, targets: Any, *bound: Any) -> Any:
        if self.hard:
            logits, targets = as_sides(xp, logits, targets)
        return without_unknown(xp, where, logits, targets, *bound)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        logits, targets, *bound = self._known(xp, where, *arrays)
        sums = SideSums(*values)
        if index == 0:
            negative, positive = by_logits(logits, targets, sums)
        elif index == 1:
            negative, positive = by_targets(xp, where, logits, sums)
        else:
            negative, positive = by_bound(bound[0], sums)
        # the shifts are constants: only the logarithms have a derivative
        return None, negative, None, positive


class Zlpr(TwoSided):
    """Values: both sides together, and the `SideSums`. Without a bound it is 0."""

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        sums = SideSums(*super().values(xp, params, where, *with_bound(xp, *arrays)))
        # the shifts are added first: a small sum keeps its digits
        total = (sums.negative_shift + sums.positive_shift) + (
            sums.negative_log + sums.positive_log
        )
        return total, *sums

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        found = super().derivatives(index, xp, params, where, values[1:], *with_bound(xp, *arrays))
        _, negative, _, positive = found
        return negative + positive, *found

    keeps_derivative = True

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """One pass instead of two: the bound's own term is 1, so nothing underflows that counts."""
        logits, targets, *bounds = arrays
        weights = as_dtype(xp, targets, logits.dtype)
        term = (logits - bounds[0].unsqueeze(-1) if bounds else logits).exp()
        # below the normal numbers a term has lost digits, and a small target over it is finite
        if not self.hard and term.numel() and xp.amin(term).item() < xp.finfo(term.dtype).tiny:
            return None
        # y and 1 - y each to its last digit: the difference of the term and y of it has lost them
        negative_terms, positive_terms = term.lerp(term.new_zeros(()), weights), weights / term
        if where is not None:
            negative_terms, positive_terms = negative_terms.mul_(where), positive_terms.mul_(where)
        negative_sum, positive_sum = negative_terms.sum(-1, True), positive_terms.sum(-1, True)
        negative_log = negative_sum.squeeze(-1).log1p()
        positive_log = positive_sum.squeeze(-1).log1p()
        total = negative_log + positive_log
        if not is_finite(total):
            return None
        if derivative is not None:
            xp.div(negative_terms, negative_sum.add_(1.0), out=derivative).addcdiv_(
                positive_terms, positive_sum.add_(1.0), value=-1.0
            )
        if wanted == 1:
            return (total,)
        *_, bound = with_bound(xp, *arrays)
        # a result must not be an argument itself
        return total, bound + 0.0, negative_log, -bound, positive_log


def with_bound(xp: Any, logits: Any, targets: Any, *bound: Any) -> tuple[Any, ...]:
    """With a bound of 0 if none is given."""
    if bound:
        return logits, targets, *bound
    zeros = xp.zeros(shape_of(logits)[:-1], dtype=logits.dtype, device=device_of(logits))
    return logits, targets, zeros


def as_sides(xp: Any, logits: Any, targets: Any) -> tuple[Any, Any]:
    """Logits and hard targets as bool; NaN is on no side, so that its logit is NaN."""
    if xp.isdtype(targets.dtype, "bool"):
        return logits, targets
    if xp.isdtype(targets.dtype, "real floating"):
        logits = xp.where(xp.isnan(targets), math.nan, logits)
    return logits, targets > 0


def without_unknown(xp: Any, where: Any, logits: Any, targets: Any, *bound: Any) -> Any:
    """Logits and targets, -inf and 0 for a label that is not known: it is then on neither side."""
    if where is None:
        return logits, targets, *bound
    return (
        xp.where(where, logits, -math.inf),
        xp.where(where, targets, xp.zeros_like(targets)),
        *bound,
    )


def _largest(xp: Any, pair: Callable[..., Any], logits: Any, targets: Any) -> tuple[Any, ...]:
    return maxima_of_terms(xp, pair, (logits, targets), runs=8)


def _total(
    xp: Any, pair: Callable[..., Any], logits: Any, targets: Any, *rows: Any
) -> tuple[Any, ...]:
    def with_rows(logits: Any, targets: Any, *rows: Any) -> Any:
        return pair(logits, targets, *(row[..., None] for row in rows))

    return sums_of_terms(xp, with_rows, (logits, targets, *rows), runs=8)


def side_sums(
    xp: Any,
    logits: Any,
    targets: Any,
    bound: Any = None,
    *,
    largest: Callable[..., Any] = _largest,
    total: Callable[..., Any] = _total,
) -> SideSums:
    """The sums, without a gradient rule.

    `largest` and `total` reduce a pair of terms: over the labels, or over the batch.

    The shift is the largest exponent among the labels that count and the bound. A larger one,
    such as a logit of the other side, could make the whole sum underflow.
    """
    peaks = largest(xp, _candidates, logits, targets)
    bounds = (None, None) if bound is None else (bound, -bound)
    shifts = [
        finite(xp, peak if b is None else xp.maximum(peak, b))
        for peak, b in zip(peaks, bounds, strict=True)
    ]
    totals = total(xp, _shifted, logits, targets, *shifts)
    logs = [
        _log_total(xp, side, b, shift)
        for side, b, shift in zip(totals, bounds, shifts, strict=True)
    ]
    return SideSums(shifts[0], logs[0], shifts[1], logs[1])


def _sums(xp: Any, params: Any, *arrays: Any) -> SideSums:
    return side_sums(xp, *arrays)


def _sums_without_peaks(
    xp: Any, params: Any, logits: Any, targets: Any, bound: Any
) -> tuple[SideSums, Any]:
    """The same, and whether no sum has overflowed.

    The bound's own term is then 1, so nothing underflows that would count.
    """
    no_peak = xp.full_like(bound, -math.inf)
    sums = side_sums(xp, logits, targets, bound, largest=lambda *_: (no_peak, no_peak))
    return sums, xp.all(xp.isfinite(sums.negative_log + sums.positive_log))


def _log_total(xp: Any, total: Any, bound: Any, shift: Any) -> Any:
    """`log(total + e^(bound - shift))`, to its last digit where the bound is the largest term."""
    if bound is not None:
        leads = bound == shift
        whole = xp.where(leads, 1.0, total + xp.exp(bound - shift))
        return xp.where(leads, xp.log1p(total), xp.log(whole))
    empty = total == 0
    return xp.where(empty, -math.inf, xp.log(xp.where(empty, 1.0, total)))


def _candidates(logits: Any, targets: Any) -> tuple[Any, Any]:
    """Each side's exponents, -inf for the labels that are not on it."""
    xp = namespace(logits=logits)
    negative, positive = _on_side(xp, targets)
    return xp.where(negative, logits, -math.inf), xp.where(positive, -logits, -math.inf)


def _shifted(logits: Any, targets: Any, negative_shift: Any, positive_shift: Any) -> Any:
    return _terms(logits - negative_shift, -logits - positive_shift, targets)


def _terms(negative_exponents: Any, positive_exponents: Any, targets: Any) -> tuple[Any, Any]:
    """`(1 - y) e^a` and `y e^b` of the exponents a and b; 0 where the weight is 0, even at inf.

    The mask is inside the exponential: outside, an overflow on the other side would become
    0 * inf in second derivatives.
    """
    xp = namespace(targets=targets)
    if xp.isdtype(targets.dtype, "bool"):
        term = xp.exp(xp.where(targets, positive_exponents, negative_exponents))
        return xp.where(targets, 0.0, term), xp.where(targets, term, 0.0)
    negative, positive = _on_side(xp, targets)
    return (
        (1.0 - targets) * xp.exp(xp.where(negative, negative_exponents, -math.inf)),
        targets * xp.exp(xp.where(positive, positive_exponents, -math.inf)),
    )


def _on_side(xp: Any, targets: Any) -> tuple[Any, Any]:
    if xp.isdtype(targets.dtype, "bool"):
        return ~targets, targets
    return targets < 1, targets > 0


def by_logits(logits: Any, targets: Any, sums: SideSums) -> tuple[Any, Any]:
    """Derivative of each side by the logits.

    Each is at most 1 in size; saying so is what makes the derivative by an infinite logit 1.
    """
    xp = namespace(logits=logits)
    negative_exponents, positive_exponents = _exponents(logits, sums)
    if xp.isdtype(targets.dtype, "bool"):
        negative, positive = _terms(negative_exponents, positive_exponents, targets)
    else:
        # a label that is not on a side may have any exponent: there 0 multiplies it
        y = as_dtype(xp, targets, logits.dtype)
        negative = (1.0 - y) * xp.exp(xp.clip(negative_exponents, None, _LARGEST_EXPONENT))
        positive = y * xp.exp(xp.clip(positive_exponents, None, _LARGEST_EXPONENT))
    return xp.clip(negative, None, 1.0), -xp.clip(positive, None, 1.0)


def by_targets(xp: Any, where: Any, logits: Any, sums: SideSums) -> tuple[Any, Any]:
    """Derivative of each side by the targets, kept finite."""
    exponents = _exponents(logits, sums)
    if where is not None:  # before the exponential: after it, inf would be in second derivatives
        exponents = tuple(xp.where(where, x, -math.inf) for x in exponents)
    negative, positive = (finite(xp, xp.exp(x)) for x in exponents)
    return -negative, positive


def by_bound(bound: Any, sums: SideSums) -> tuple[Any, Any]:
    """Derivative of each side by the bound."""
    xp = namespace(bound=bound)
    negative, positive = (xp.exp(x)[..., 0] for x in _exponents(bound[..., None], sums))
    return negative, -positive


def _exponents(x: Any, sums: SideSums) -> tuple[Any, Any]:
    """Logarithm of what `e^x` is of the negatives' total, and `e^-x` of the positives'."""
    xp = namespace(x=x)
    return (
        x - sums.negative_shift[..., None] - finite(xp, sums.negative_log)[..., None],
        -x - sums.positive_shift[..., None] - finite(xp, sums.positive_log)[..., None],
    )
