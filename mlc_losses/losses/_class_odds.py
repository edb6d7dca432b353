"""A class against the others: the log-odds against it, and its lead over them on average."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import (
    at_class,
    in_range,
    label_max,
    label_sum,
    replaced_at_class,
)
from mlc_losses._array.ops import finite, scaled
from mlc_losses._array.row_rules import RowRule, apply_rule, is_finite
from mlc_losses._array.term_sums import LEAST_REST, quick_or_exact, row_max, sums_of_terms
from mlc_losses.losses._log_sum_exp import subtract


def log_odds_against(xp: Any, logits: Any, labels: Any, where: Any = None, scale: Any = 1.0) -> Any:
    """`log Σ_{l ≠ y} e^(c s_l) - c s_y`, of logits `[..., L]` and class ids `[...]`; c is `scale`.

    It keeps its digits where the softmax is near 0 or 1: cross-entropy is its softplus. -inf where
    nothing is against the class: it is alone, it is left out, or its logit is inf.
    """
    return apply_rule(xp, _LogOdds(), (logits, labels), (scale,), where, wanted=1)[0]


@dataclass(frozen=True)
class _LogOdds(RowRule):
    """Values: the log-odds; the shift, a constant, and the logarithm of the others' sum."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        if where is None:
            return quick_or_exact(xp, _quick_sums, _sums, params, (logits, labels))
        return _sums(xp, params, logits, labels, where)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, labels: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None, None
        (scale,) = params
        _, others = _without_class(xp, where, logits, labels)
        _, shift, log_total = values
        # the share is at most 1; the clip makes it 1 at an infinite logit
        exponents = scaled(others, scale) - shift[..., None] - log_total[..., None]
        share = xp.clip(xp.exp(exponents), None, 1.0)
        return scale * replaced_at_class(share, labels, -1.0), None, scale * share

    keeps_derivative = True

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """By PyTorch's own softmax of the other classes, `e^(s - largest) / Σ e^(s - largest)`."""
        (scale,), (logits, labels) = params, arrays
        logits, others = _without_class(xp, where, logits, labels)
        others = others if scale == 1.0 else scale * others
        share = xp.softmax(others, -1, out=derivative)
        shift, log_total = xp.amax(others, -1), -xp.log(xp.amax(share, -1))
        against = shift - scale * at_class(logits, labels) + log_total
        if not is_finite(against):
            return None
        if derivative is not None:
            share.scatter_(-1, in_range(xp, labels, share)[..., None], -1.0)
            if scale != 1.0:
                share *= scale
        return against, shift, log_total


def _sums(xp: Any, params: Any, logits: Any, labels: Any, where: Any = None) -> tuple[Any, ...]:
    (scale,) = params
    logits, others = _without_class(xp, where, logits, labels)
    peak, own = row_max(xp, others), at_class(logits, labels)
    shift = finite(xp, scaled(peak, scale))

    def terms(others: Any, shift: Any) -> tuple[Any]:
        return (xp.exp(scaled(others, scale) - shift[..., None]),)

    (total,) = sums_of_terms(xp, terms, (others, shift))
    log_total = xp.log(xp.where(total == 0, 1.0, total))
    # here the result is not inf - inf; NaN stays
    settled = (peak == -math.inf) & ~xp.isnan(own) | (own == math.inf) & ~xp.isnan(peak)
    if where is not None:
        settled = settled | ~at_class(where, labels)
    against = shift - xp.where(settled, 0.0, scaled(own, scale)) + log_total
    return xp.where(settled, -math.inf, against), shift, finite(xp, log_total)


def _quick_sums(xp: Any, params: Any, logits: Any, labels: Any) -> tuple[tuple[Any, ...], Any]:
    """The same from the sum over all classes, and whether no class has lost digits by it."""
    (scale,) = params
    shift = scale * label_max(logits)
    own = scale * xp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    rest = label_sum(xp.exp(scale * logits - shift[..., None])) - xp.exp(own - shift)
    enough = rest > LEAST_REST
    log_total = xp.log(xp.where(enough, rest, 1.0))
    return (shift - own + log_total, shift, log_total), xp.all(enough & xp.isfinite(own))


def _without_class(xp: Any, where: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """The logits, and those of the other classes; -inf where there is none."""
    if where is not None:
        logits = xp.where(where, logits, -math.inf)
    return logits, replaced_at_class(logits, labels, -math.inf)


def class_lead(xp: Any, logits: Any, labels: Any, where: Any = None) -> Any:
    """The label's logit less the mean logit of the classes.

    Classes at -inf do not count. 0 where the label itself is left out.
    """
    return apply_rule(xp, _Lead(), (logits, labels), where=where)[0]


@dataclass(frozen=True)
class _Lead(RowRule):
    """Values: the lead, and the number of classes, a constant."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        own = at_class(logits, labels)
        if where is not None:
            logits = xp.where(where, logits, -math.inf)
            own = xp.where(at_class(where, labels), own, -math.inf)

        def terms(x: Any, own: Any) -> tuple[Any, Any]:
            own, present = own[..., None], x > -math.inf
            return -subtract(xp, xp.where(present, x, own), own), xp.astype(present, x.dtype)

        there = own > -math.inf
        lead, count = sums_of_terms(xp, terms, (logits, xp.where(there, own, 0.0)))
        count = xp.where(there, count, math.inf)
        return lead / count, count

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, labels: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None
        _, count = values
        present = logits > -math.inf if where is None else where & (logits > -math.inf)
        own = xp.where(count == math.inf, 0.0, 1.0)[..., None]
        of_label = replaced_at_class(xp.zeros_like(logits), labels, 1.0)
        return own * of_label - xp.where(present, 1.0 / count[..., None], 0.0), None
