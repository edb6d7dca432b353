"""The log-odds against a class: what softmax losses with one class per example are made of."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.labels import at_class, replaced_at_class
from mlc_losses._array.ops import scaled
from mlc_losses._array.row_rules import apply_rule, largest, sum_of_terms


def log_odds_against(xp: Any, logits: Any, labels: Any, where: Any = None, scale: Any = 1.0) -> Any:
    """`log Σ_{l ≠ y} e^(c s_l) - c s_y`, of logits `[..., L]` and class ids `[...]`; c is `scale`.

    It keeps its digits where the softmax is near 0 or 1: cross-entropy is its softplus. -inf where
    nothing is against the class: it is alone, it is left out, or its logit is inf.
    """
    return apply_rule(xp, _LogOdds(), (logits, labels), (scale,), where)[0]


class _LogOdds(NamedTuple):
    """Values: the log-odds; the shift, a constant, and the logarithm of the others' sum."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        (scale,) = params
        logits, others = _without_class(xp, where, logits, labels)
        peak, own = largest(xp, others), at_class(logits, labels)
        most = float(xp.finfo(logits.dtype).max)
        shift = xp.clip(scale * peak, -most, most)

        def term(others: Any, shift: Any) -> Any:
            return xp.exp(scaled(others, scale) - shift[..., None])

        total = sum_of_terms(xp, term, (others, shift))
        log_total = xp.log(xp.where(total == 0, 1.0, total))
        # not inf - inf; written so that NaN stays
        settled = (peak == -math.inf) & ~xp.isnan(own) | (own == math.inf) & ~xp.isnan(peak)
        if where is not None:
            settled = settled | ~at_class(where, labels)
        against = shift - xp.where(settled, 0.0, scaled(own, scale)) + log_total
        return xp.where(settled, -math.inf, against), shift, xp.clip(log_total, -most, most)

    def finite_values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> None:
        return None

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, labels: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None, None
        (scale,) = params
        _, others = _without_class(xp, where, logits, labels)
        _, shift, log_total = values
        # at most 1: saying so is what makes the derivative by an infinite logit 1
        exponents = scaled(others, scale) - shift[..., None] - log_total[..., None]
        share = xp.clip(xp.exp(exponents), None, 1.0)
        return scale * replaced_at_class(share, labels, -1.0), None, scale * share


def _without_class(xp: Any, where: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """The logits, and those of the other classes; -inf where there is none."""
    if where is not None:
        logits = xp.where(where, logits, -math.inf)
    return logits, replaced_at_class(logits, labels, -math.inf)
