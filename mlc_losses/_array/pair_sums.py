"""What the losses call: sums over pairs of labels, with their gradient rules.

ZLPR adds the sides of the two-sided log-sum-exp, LSEP and softmax cross-entropy join them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mlc_losses._array import pairs
from mlc_losses._array.backend import is_torch_namespace
from mlc_losses._array.batch import batch_max, batch_sum
from mlc_losses._array.layout import require_all_labels
from mlc_losses._array.namespace import namespace
from mlc_losses._array.ops import stop_gradient
from mlc_losses._array.row_rules import RowRule, apply_rule
from mlc_losses._array.two_sided import SideSums, TwoSided, as_sides, side_sums, without_unknown


def two_sided_logsumexp(xp: Any, logits: Any, targets: Any, bound: Any, where: Any = None) -> Any:
    """`log(e^b + Σ (1 - y) e^s) + log(e^-b + Σ y e^-s)` over the labels.

    Targets are weights in [0, 1]; if they are bool or integers, one exponential does for two.
    `bound` is one value b per example. The shifts are added first: a small sum keeps its digits.
    """
    hard = not xp.isdtype(targets.dtype, "real floating")
    sums = SideSums(*apply_rule(xp, TwoSided(hard), (logits, targets, bound), where=where))
    return (sums.negative_shift + sums.positive_shift) + (sums.negative_log + sums.positive_log)


def log_pair_sum(
    logits: Any,
    targets: Any,
    where: Any = None,
    *,
    negative_scale: float = 1.0,
    positive_scale: float = 1.0,
) -> Any:
    """`log Σ_N Σ_P e^(s_n - s_p)`, or the two sides' logarithms added with these factors.

    Targets are 0 or 1, in any dtype.

    -inf where either side is empty, whatever the other one is. The shifts are added first, so that
    it is accurate where the sides cancel.
    """
    xp = namespace(logits=logits, targets=targets)
    sums = SideSums(*apply_rule(xp, TwoSided(hard=True), (logits, targets), where=where))
    return _joined(sums, negative_scale, positive_scale)


def log_pair_sum_over_batch(
    logits: Any,
    targets: Any,
    where: Any = None,
    *,
    negative_scale: float = 1.0,
    positive_scale: float = 1.0,
) -> Any:
    """The same over the examples of `[B, L]`, for each label: `[L]`."""

    xp = namespace(logits=logits, targets=targets)
    if is_torch_namespace(xp):
        # examples as labels: a rule is for the last axis
        arrays = (xp.permute_dims(x, (1, 0)) for x in (logits, targets, where) if x is not None)
        return log_pair_sum(*arrays, negative_scale=negative_scale, positive_scale=positive_scale)

    def largest(pair: Callable[..., Any], logits: Any, targets: Any) -> list[Any]:
        return [batch_max(side) for side in pair(stop_gradient(logits), targets)]

    def total(pair: Callable[..., Any], logits: Any, targets: Any, *rows: Any) -> list[Any]:
        return [batch_sum(side) for side in pair(logits, targets, *(row[None, :] for row in rows))]

    arrays = without_unknown(xp, where, *as_sides(xp, logits, targets))
    sums = side_sums(*arrays, largest=largest, total=total)
    return _joined(sums, negative_scale, positive_scale)


def _joined(sums: SideSums, negative_scale: float, positive_scale: float) -> Any:
    xp = namespace(sums=sums.negative_log)
    logs = (sums.negative_log, sums.positive_log)
    empty = (logs[0] == -math.inf) | (logs[1] == -math.inf)
    empty = empty & ~xp.isnan(logs[0]) & ~xp.isnan(logs[1])
    scales = (negative_scale, positive_scale)
    shifts = (sums.negative_shift, sums.positive_shift)
    # the shift of an infinite logarithm, the largest finite number, is ignored
    shift = sum(
        scale * xp.where(xp.isinf(log), 0.0, shift)
        for scale, shift, log in zip(scales, shifts, logs, strict=True)
    )
    log = sum(scale * xp.where(empty, 0.0, log) for scale, log in zip(scales, logs, strict=True))
    return xp.where(empty, -math.inf, shift + log)


def pair_logistic(scores: Any, positive: Any, negative: Any) -> Any:
    """`Σ_P Σ_N log(1 + e^(s_n - s_p))`, in blocks of labels, gradient included.

    A label right at infinity makes no pair: the other one of a pair may be wrong at infinity.
    """
    xp = namespace(scores=scores)
    require_all_labels(xp, "compares every positive label with every negative one")
    # written so that NaN makes a pair
    positive = positive & ~(scores == math.inf)
    negative = negative & ~(scores == -math.inf)
    return apply_rule(xp, _PairLogistic(), (scores, positive, negative))[0]


@dataclass(frozen=True)
class _PairLogistic(RowRule):
    """The rule of `pair_logistic`."""

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any]:
        return (pairs.pair_logistic_value(*arrays),)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any]:
        return (pairs.pair_logistic_derivatives(*arrays) if index == 0 else None,)
