"""The logarithm of a sum of exponentials over the labels, and how far labels are below it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.row_rules import LabelSum, RowRule, apply_rule, sum_over_labels
from mlc_losses._array.term_sums import row_max, sums_of_terms


def log_sum_exp(xp: Any, logits: Any, where: Any = None) -> tuple[Any, Any]:
    """The largest logit, a constant, and `log Σ e^(s - largest)`; both 0 where there is none."""
    peak, log_total = apply_rule(xp, _LogSumExp(), (logits,), where=where)
    return peak, log_total


def sum_below(xp: Any, logits: Any, weights: Any, peak: Any, where: Any = None) -> Any:
    """`Σ w (peak - s)`, for weights `[..., L]`; one of 0 removes its term, whatever that is."""
    return sum_over_labels(xp, _BELOW, (logits, weights, peak), where=where)


def subtract(xp: Any, logits: Any, peak: Any) -> Any:
    """`s - peak`, where two of inf differ by 0."""
    tied = xp.isinf(logits) & (logits == peak)
    return xp.where(tied, 0.0, logits) - xp.where(tied, 0.0, peak)


@dataclass(frozen=True)
class _LogSumExp(RowRule):
    """Labels at inf share the probability, without a gradient."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any) -> Any:
        if where is not None:
            logits = xp.where(where, logits, -math.inf)
        peak = row_max(xp, logits)
        peak = xp.where(peak == -math.inf, 0.0, peak)

        def terms(x: Any, peak: Any) -> tuple[Any, Any]:
            exponents = subtract(xp, x, peak[..., None])
            term = xp.exp(exponents)
            return term, xp.where(exponents >= 0, 0.0, term)

        total, below = sums_of_terms(xp, terms, (logits, peak))
        # a label far above the others: what they add to it keeps its digits
        alone = (total >= 1) & (total < below + 1.5)
        total = xp.where(alone | (total == 0), 1.0, total)
        return peak, xp.where(alone, xp.log1p(below), xp.log(total))

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any
    ) -> tuple[Any, ...]:
        peak, log_total = (value[..., None] for value in values)
        if where is not None:  # before the exponential: NaN would be in second derivatives
            logits = xp.where(where, logits, -math.inf)
        share = xp.exp(subtract(xp, logits, peak) - log_total)
        return None, xp.where(xp.isinf(logits), 0.0, share)


def _below(xp: Any, params: Any, logits: Any, weights: Any, peak: Any) -> Any:
    return weights * xp.where(weights == 0, 0.0, -subtract(xp, logits, peak[..., None]))


def _below_by_logits(xp: Any, params: Any, logits: Any, weights: Any, peak: Any) -> Any:
    return xp.where(logits == math.inf, 0.0, -weights)


def _below_by_weights(xp: Any, params: Any, logits: Any, weights: Any, peak: Any) -> Any:
    most = float(xp.finfo(logits.dtype).max)
    return xp.clip(-subtract(xp, logits, peak[..., None]), None, most)


_BELOW = LabelSum(_below, (_below_by_logits, _below_by_weights, None))
