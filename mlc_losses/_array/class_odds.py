"""The log-odds against a class: what softmax losses with one class per example are made of."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.labels import at_class, label_max, label_sum, replaced_at_class
from mlc_losses._array.row_rules import apply_rule


def log_odds_against(xp: Any, logits: Any, labels: Any, where: Any = None) -> Any:
    """`log Σ_{l ≠ y} e^(s_l) - s_y`, of logits `[..., L]` and class ids `[...]`.

    It keeps its digits where the softmax is near 0 or 1: cross-entropy is its softplus. -inf where
    nothing is against the class: it is alone, it is left out, or its logit is inf.
    """
    return apply_rule(xp, _LogOdds(), (logits, labels), where=where)[0]


class _LogOdds(NamedTuple):
    """Values: the log-odds; the shift, a constant, and the logarithm of the others' sum."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        logits, others = _without_class(xp, where, logits, labels)
        peak, own = label_max(others), at_class(logits, labels)
        largest = float(xp.finfo(logits.dtype).max)
        shift = xp.clip(peak, -largest, largest)
        total = label_sum(xp.exp(others - shift[..., None]))
        log_total = xp.log(xp.where(total == 0, 1.0, total))
        # not inf - inf; written so that NaN stays
        settled = (peak == -math.inf) & ~xp.isnan(own) | (own == math.inf) & ~xp.isnan(peak)
        if where is not None:
            settled = settled | ~at_class(where, labels)
        against = shift - xp.where(settled, 0.0, own) + log_total
        return (
            xp.where(settled, -math.inf, against),
            shift,
            xp.clip(log_total, -largest, largest),
        )

    def finite_values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> None:
        return None

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, labels: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None, None
        _, others = _without_class(xp, where, logits, labels)
        _, shift, log_total = values
        # at most 1: saying so is what makes the derivative by an infinite logit 1
        share = xp.clip(xp.exp(others - shift[..., None] - log_total[..., None]), None, 1.0)
        return replaced_at_class(share, labels, -1.0), None, share


def _without_class(xp: Any, where: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """The logits, and those of the other classes; -inf where there is none."""
    if where is not None:
        logits = xp.where(where, logits, -math.inf)
    return logits, replaced_at_class(logits, labels, -math.inf)
