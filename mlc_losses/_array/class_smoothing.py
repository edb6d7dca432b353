"""What label smoothing adds to softmax cross-entropy of one class per example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import at_class, replaced_at_class
from mlc_losses._array.log_sum_exp import over
from mlc_losses._array.row_rules import RowRule, apply_rule, sums_of_terms


def class_lead(xp: Any, logits: Any, labels: Any, where: Any = None) -> Any:
    """By how much the label leads the classes on average.

    Classes at -inf are not there. 0 where the label itself is left out.
    """
    return apply_rule(xp, _Lead(), (logits, labels), where=where)[0]


@dataclass(frozen=True)
class _Lead(RowRule):
    """Values: that, and the number of classes, a constant."""

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        own = at_class(logits, labels)
        if where is not None:
            logits = xp.where(where, logits, -math.inf)
            own = xp.where(at_class(where, labels), own, -math.inf)

        def terms(x: Any, own: Any) -> tuple[Any, Any]:
            own, present = own[..., None], x > -math.inf
            return -over(xp, xp.where(present, x, own), own), xp.astype(present, x.dtype)

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
