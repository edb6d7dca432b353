"""Soft counts of hits and errors over the batch: their values and their derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.labels import label_sum
from mlc_losses._array.ops import magnitude, sigmoid, stop_gradient
from mlc_losses._array.row_rules import RowRule, masked_arrays
from mlc_losses._array.term_sums import row_max, sums_of_terms

# for a cell that does not count: its exponential is finite, so that 0 times it is 0
_LARGEST_EXPONENT = 40.0
# a label with a larger total is far from underflow
_SMALLEST_TOTAL = 1e-25


@dataclass(frozen=True)
class SoftCounts(RowRule):
    """Values: TP and α FP + β FN, both divided by `e^shift`, and the shift, a constant.

    Their ratio does not depend on the shift, the largest exponent that counts. Without it, a label
    that no example has would be 0 / 0 once its probabilities underflow.
    """

    def values(self, xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> Any:
        logits, targets, *mask = cells = _cells(xp, where, logits, targets)
        shift = stop_gradient(row_max(xp, _exponent(xp, params, *cells)))
        shift = xp.where(shift == -math.inf, 0.0, shift)

        def terms(logits: Any, targets: Any, shift: Any, *mask: Any) -> tuple[Any, Any]:
            hit, wrong, missed = _weights(xp, params, logits, targets, *mask)
            yes, no = _probabilities(xp, logits, shift[..., None])
            return hit * yes, wrong * yes + missed * no

        true, false = sums_of_terms(xp, terms, (logits, targets, shift, *mask))
        return true, false, shift

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, targets: Any
    ) -> tuple[Any, ...]:
        logits, *_ = cells = _cells(xp, where, logits, targets)
        shift = stop_gradient(values[2])[..., None]
        if index == 0:
            log_yes, log_no = _logarithms(xp, logits)
            both = xp.exp(_capped(xp, log_yes + log_no - shift))
            return _by_logits(xp, params, both, *cells)
        alpha, beta = params
        yes, no = _probabilities(xp, logits, shift)
        found = yes, beta * no - alpha * yes
        return (*(x if where is None else xp.where(where, x, 0.0) for x in found), None)

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        """With a shift of 0, where no label's probabilities are all near to underflow."""
        logits, *_ = cells = _cells(xp, where, *arrays)
        hit, wrong, missed = _weights(xp, params, *cells)
        yes, no = sigmoid(logits), sigmoid(-logits)
        true, false = label_sum(hit * yes), label_sum(wrong * yes + missed * no)
        if not bool(xp.all(true + false > _SMALLEST_TOTAL)):
            return None
        return true, false, xp.zeros_like(true)

    def finite_derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, out: Any, *arrays: Any
    ) -> Any:
        if index != 0:
            return None
        logits, *_ = cells = _cells(xp, where, *arrays)
        return _by_logits(xp, params, sigmoid(logits) * sigmoid(-logits), *cells)


def _cells(xp: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
    """Logits and targets, harmless where `where` is False; and `where`, if there is one."""
    return (*masked_arrays(xp, where, arrays), *(() if where is None else (where,)))


def _by_logits(xp: Any, params: Any, both: Any, *cells: Any) -> tuple[Any, ...]:
    """The derivatives, from the product of both probabilities of each cell."""
    hit, wrong, missed = _weights(xp, params, *cells)
    return hit * both, (wrong - missed) * both, None


def _weights(xp: Any, params: Any, logits: Any, y: Any, where: Any = None) -> tuple[Any, Any, Any]:
    """How much each cell counts among the hits, the wrong and the missed labels."""
    alpha, beta = params
    wrong = alpha * (1.0 - y)
    return y, wrong if where is None else xp.where(where, wrong, 0.0), beta * y


def _exponent(xp: Any, params: Any, logits: Any, *rest: Any) -> Any:
    """The larger logarithm of the probabilities of a cell that count."""
    hit, wrong, missed = _weights(xp, params, logits, *rest)
    log_yes, log_no = _logarithms(xp, logits)
    return xp.maximum(
        xp.where(hit + wrong > 0, log_yes, -math.inf), xp.where(missed > 0, log_no, -math.inf)
    )


def _logarithms(xp: Any, logits: Any) -> tuple[Any, Any]:
    """`log σ(s)` and `log σ(-s)`, from one exponential."""
    rest = xp.log1p(xp.exp(-magnitude(logits)))
    return xp.clip(logits, None, 0.0) - rest, -xp.clip(logits, 0.0, None) - rest


def _probabilities(xp: Any, logits: Any, shift: Any) -> tuple[Any, Any]:
    """`σ(s)` and `σ(-s)`, divided by `e^shift`."""
    yes, no = (xp.exp(_capped(xp, log - shift)) for log in _logarithms(xp, logits))
    return yes, no


def _capped(xp: Any, exponent: Any) -> Any:
    """A cell of weight 0 may have any exponent; it is kept finite."""
    return xp.clip(exponent, None, _LARGEST_EXPONENT)
