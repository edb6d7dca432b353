"""Softmax cross-entropy of one class per example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import (
    at_class,
    in_range,
    is_class,
    label_max,
    label_sum,
    replaced_at_class,
)
from mlc_losses._array.layout import label_shards
from mlc_losses._array.ops import entries_at, finite, stop_gradient
from mlc_losses._array.row_rules import SharedTermsRule, apply_rule, is_finite
from mlc_losses._array.term_sums import LEAST_REST, as_shift, quick_or_exact, row_max, sums_of_terms

# a smaller share of a label may have lost digits to underflow
_LEAST_SHARE = 1e-30


def class_cross_entropy(
    xp: Any, logits: Any, labels: Any, where: Any = None, wanted: int | None = None
) -> tuple[Any, ...]:
    """`log Σ e^s - s_y` of logits `[..., L]` and class ids `[...]`; 0 where the label is left out.

    Then, unless `wanted` is 1, a constant shift and `Σ e^(s - shift)`, which is differentiable.
    """
    return apply_rule(xp, ClassCrossEntropy(), (logits, labels), where=where, wanted=wanted)


@dataclass(frozen=True)
class ClassCrossEntropy(SharedTermsRule):
    """The rule of `class_cross_entropy`.

    The sum over the other classes keeps its digits, and so do small losses. The derivatives are the
    softmax, less 1 at the label.
    """

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        if label_shards(xp) is not None:
            # each reduction is a pass over all blocks, or an exchange between devices
            _, *found = _exact_terms(xp, params, logits, labels, where)
            return _values_from_rest(xp, *found)
        if where is None:
            return quick_or_exact(xp, _quick_values, _values, params, (logits, labels))
        return _values(xp, params, logits, labels, where)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, labels: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None, None
        terms = _terms(xp, _known(xp, where, logits), values[1])
        return _by_logits(xp, values, terms, labels), None, terms

    def values_and_derivative(
        self, xp: Any, params: Any, where: Any, logits: Any, labels: Any
    ) -> tuple[Any, Any]:
        """The terms `e^(s - shift)` are written down once."""
        arrays = logits, labels, where
        terms, *found = quick_or_exact(
            xp, _quick_terms, _exact_terms, params, arrays, in_place=True
        )
        values = _values_from_rest(xp, *found)
        return values, _by_logits(xp, values, terms, labels)

    uses_fused_kernel = True

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """By PyTorch's own softmax."""
        logits, labels = arrays
        ids = in_range(xp, labels, logits).unsqueeze(-1)  # under `vmap` they are not checked
        if where is not None and wanted != 1:
            return None  # the shift is of all known classes, where the label is left out too
        if where is not None:
            # a label that is left out is alone
            known = where.gather(-1, ids)
            own = xp.where(known, logits.gather(-1, ids), 0.0)
            logits = xp.where(where & known, logits, -math.inf).scatter_(-1, ids, own)
        share = xp.softmax(logits, -1, out=derivative)
        of_label = share.gather(-1, ids)
        if not of_label.numel():
            return None
        least, most = (x.item() for x in of_label.aminmax())
        trusted = least > _LEAST_SHARE
        others: tuple[Any, ...] = ()
        if wanted != 1 or not trusted:
            others = shift, total = xp.amax(logits, -1), 1.0 / xp.amax(share, -1)
        if most > 1.0 - LEAST_REST:
            rest = share.scatter_(-1, ids, 0.0).sum(-1, True)
        else:
            rest = of_label.neg().add_(1.0)
        if derivative is not None:
            share.scatter_(-1, ids, -rest)
        loss = (rest / of_label).squeeze(-1).log1p()
        if not trusted:
            far = shift - logits.gather(-1, ids).squeeze(-1) + xp.log(total)
            if not is_finite(far):
                return None
            loss = xp.where(rest.squeeze(-1) < 0.5, loss, far)
        return loss, *others


def _known(xp: Any, where: Any, logits: Any) -> Any:
    """The logits, -inf where `where` is False."""
    return logits if where is None else xp.where(where, logits, -math.inf)


def _with_own(xp: Any, where: Any, logits: Any, labels: Any) -> tuple[Any, Any, Any]:
    """The logits as in `_known`, those of the labels, and which of these are known; None is all."""
    logits = _known(xp, where, logits)
    return logits, at_class(logits, labels), None if where is None else at_class(where, labels)


def _terms(xp: Any, logits: Any, shift: Any) -> Any:
    """`e^(s - shift)`, 1 at inf, where the shift is the largest finite number."""
    term = xp.exp(logits - shift[..., None])
    return xp.where(logits == math.inf, 1.0, term)


def _values(xp: Any, params: Any, logits: Any, labels: Any, where: Any = None) -> tuple[Any, ...]:
    logits, own, known = _with_own(xp, where, logits, labels)
    peak = row_max(xp, logits)
    shift = finite(xp, peak)

    def terms(logits: Any, peak: Any) -> tuple[Any, Any]:
        term = xp.exp(logits - peak[..., None])
        return term, xp.where(logits >= peak[..., None], 0.0, term)

    # a result of inf - inf is not used
    total, below = sums_of_terms(xp, terms, (logits, as_shift(xp, peak)))
    total = xp.where(xp.isinf(peak), xp.astype(peak > 0, total.dtype), total)
    alone = (own == peak) & (total < below + 1.5)
    rest = xp.where(alone, below, total - _own_term(xp, own, shift))
    return _values_from_rest(xp, own, known, shift, rest)


def _exact_terms(xp: Any, params: Any, logits: Any, labels: Any, where: Any) -> tuple[Any, ...]:
    """The terms of all classes but the label, and the arguments of `_values_from_rest`."""
    logits, own, known = _with_own(xp, where, logits, labels)
    shift = finite(xp, label_max(stop_gradient(logits)))
    others = xp.where(is_class(logits, labels), 0.0, _terms(xp, logits, shift))
    return others, own, known, shift, label_sum(others)


def _quick_terms(
    xp: Any, params: Any, logits: Any, labels: Any, where: Any
) -> tuple[tuple[Any, ...], Any]:
    """The same with the label's own logit as shift, and whether no sum has overflowed."""
    ids = in_range(xp, labels, logits)
    known = None if where is None else _entry(where, ids)
    logits = _known(xp, where, logits)
    own = _entry(logits, ids)
    shift = xp.where(xp.isfinite(own), own, 0.0)
    terms = xp.exp(logits - shift[..., None])
    others = replaced_at_class(terms, ids, 0.0, in_place=True)
    rest = label_sum(others)
    usable = own > -math.inf if known is None else (own > -math.inf) | ~known
    return (others, own, known, shift, rest), xp.all(xp.isfinite(rest) & usable)


def _entry(x: Any, ids: Any) -> Any:
    return entries_at(x, ids[..., None])[..., 0]


def _quick_values(xp: Any, params: Any, logits: Any, labels: Any) -> tuple[tuple[Any, ...], Any]:
    """The values with the label's logit as shift, and whether no example has lost digits by it."""
    own = _entry(logits, labels)
    total = label_sum(xp.exp(logits - own[..., None]))
    trusted = (total > 1.0 + LEAST_REST) & xp.isfinite(total) & xp.isfinite(own)
    return (xp.log(total), own, total), xp.all(trusted)


def _values_from_rest(xp: Any, own: Any, known: Any, shift: Any, rest: Any) -> tuple[Any, Any, Any]:
    """The values, from the sum over the other classes `rest`."""
    own_term = _own_term(xp, own, shift)
    total = rest + own_term
    odds = rest / xp.where(own_term > 0, own_term, 1.0)
    far = xp.log(xp.where(total > 0, total, 1.0)) - (own - shift)
    loss = xp.where(rest < own_term, xp.log1p(odds), far)
    most = float(xp.finfo(shift.dtype).max)
    loss = xp.where((shift == most) & (own < most), math.inf, loss)
    settled = (own == math.inf) | (total == 0)
    if known is not None:
        settled = settled | ~known
    loss = xp.where(settled, 0.0, loss)
    # XLA's exponential may lose a NaN
    return xp.where(xp.isnan(shift), shift, loss), shift, total


def _own_term(xp: Any, own: Any, shift: Any) -> Any:
    return xp.exp(xp.where(own > shift, 0.0, own - shift))


def _by_logits(xp: Any, values: Any, terms: Any, labels: Any) -> Any:
    """The derivative of the loss; the terms may lack that of the label."""
    loss, _, total = values
    factor = xp.where(loss == 0, 0.0, 1.0 / xp.where(total == 0, 1.0, total))
    factor = xp.where(xp.isnan(loss), loss, factor)
    at_label = xp.expm1(-loss)[..., None]
    return xp.where(is_class(terms, labels), at_label, terms * factor[..., None])
