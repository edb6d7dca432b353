"""Set overlap over the batch: F1 and its relatives, made smooth, one value per label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.arguments import check_matrix, checked_float, checked_labels
from mlc_losses._array.labels import label_sum
from mlc_losses._array.namespace import Array, ArrayT, as_dtype, is_number
from mlc_losses._array.ops import magnitude, sigmoid, stop_gradient
from mlc_losses._array.row_rules import (
    RowRule,
    apply_rule_over_batch,
    masked_arrays,
    row_max,
    sums_of_terms,
)

# of a cell that does not count: enough for its derivative, and 0 can still be multiplied by it
_LARGEST_EXPONENT = 40.0
# of a label whose probabilities are far from underflow
_SMALLEST_TOTAL = 1e-25


def soft_f1(logits: ArrayT, targets: Array, *, where: Array | None = None) -> ArrayT:
    r"""Soft F1 loss, across the batch, one value per label; multi-hot targets, hard or soft.

    .. math:: 1 - \frac{2 TP}{2 TP + FN + FP}, \qquad TP = \sum_i p_i y_i, \;
              FP = \sum_i p_i (1 - y_i), \; FN = \sum_i (1 - p_i) y_i, \; p = \sigma(s)

    Args:
      logits: floating ``[n, L]``; the sums run over its examples.
      targets: ``[n, L]``, bool, integer or float in [0, 1].
      where: bool ``[n, L]`` or ``[n, 1]``; False leaves a cell out, in value and gradient.

    Returns:
      ``[L]``, one loss per label, in [0, 1]; its mean is the macro loss. float32 for half
      precision logits.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``.

    A label without a known cell, or where nothing is relevant and every logit is ``-inf``, is 0
    with gradient 0. A label with no positive in the batch is otherwise 1 with gradient 0, whatever
    its logits, so rare labels need large batches. Computed as
    ``(FN + FP) / (2 TP + FN + FP)`` with the sums scaled by their largest term: nothing cancels
    near 0 and nothing underflows. Infinite logits are p = 0 and p = 1.

    Limits: :func:`tversky` with both weights 1/2, :func:`sigmoid_f1` with slope 1 and offset 0.

    The published ``macroSoftF1`` adds 1e-16 to the denominator, so that a label with no positive
    drifts from 1 to 0 as its probabilities underflow; its TensorFlow version also takes a softmax
    of the targets. Neither is done here.

    Use when: macro-F1 is the metric and batches are large.

    References:
      Bénédict et al., `sigmoidF1: A Smooth F1 Score Surrogate Loss for Multilabel Classification
      <https://arxiv.org/abs/2108.10566>`_, 2021, for the name and the comparison.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import soft_f1
      >>> logits = np.array([[1.5, -0.5], [-1.0, 0.75], [0.0, 2.0]])
      >>> soft_f1(logits, np.array([[1, 0], [0, 1], [1, 1]])).round(4)
      array([0.2653, 0.2076])
    """
    return _overlap_loss(logits, targets, where, alpha=0.5, beta=0.5)


def sigmoid_f1(
    logits: ArrayT,
    targets: Array,
    *,
    slope: float = 1.0,
    offset: float = 0.0,
    where: Array | None = None,
) -> ArrayT:
    r"""sigmoidF1, across the batch, one value per label; multi-hot targets, hard or soft.

    .. math:: 1 - \frac{2 TP}{2 TP + FN + FP}, \qquad p = \sigma(\text{slope} (s - \text{offset}))

    with the soft counts of :func:`soft_f1`.

    Args:
      logits: floating ``[n, L]``; the sums run over its examples.
      targets: ``[n, L]``, bool, integer or float in [0, 1].
      slope: how sharply a logit counts as predicted, above 0; the paper's -S.
      offset: the logit at which it does by half; the paper's -E.
      where: bool ``[n, L]`` or ``[n, 1]``; False leaves a cell out.

    Returns:
      ``[L]``, one loss per label, in [0, 1].

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``slope`` is not above 0.

    Labels without cells or without positives, and infinite logits, are as in :func:`soft_f1`.

    Limits: with the defaults, the published ones for PyTorch, it is :func:`soft_f1`; a large slope
    approaches 1 - F1 of ``logits > offset``, with vanishing gradients.

    The published code applies a sigmoid before this one, so that its p stays within
    ``σ(-E) .. σ(1 - E)`` at slope 1 and the loss cannot reach 0; its README, the paper and this
    function take the logit.

    Use when: you want :func:`soft_f1` with a tunable slope and threshold.

    References:
      Bénédict et al., `sigmoidF1: A Smooth F1 Score Surrogate Loss for Multilabel Classification
      <https://arxiv.org/abs/2108.10566>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import sigmoid_f1
      >>> logits = np.array([[1.5, -0.5], [-1.0, 0.75], [0.0, 2.0]])
      >>> sigmoid_f1(logits, np.array([[1, 0], [0, 1], [1, 1]]), slope=10.0).round(4)
      array([0.1429, 0.0018])
    """
    slope = checked_float("slope", slope, above=0.0)
    offset = checked_float("offset", offset)
    return _overlap_loss(logits, targets, where, alpha=0.5, beta=0.5, slope=slope, offset=offset)


def tversky(
    logits: ArrayT,
    targets: Array,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    where: Array | None = None,
) -> ArrayT:
    r"""Tversky loss, across the batch, one value per label; multi-hot targets, hard or soft.

    .. math:: 1 - \frac{TP}{TP + \alpha FP + \beta FN}, \qquad p = \sigma(s)

    with the soft counts of :func:`soft_f1`.

    Args:
      logits: floating ``[n, L]``; the sums run over its examples.
      targets: ``[n, L]``, bool, integer or float in [0, 1].
      alpha: weight of the false positives, at least 0; a smaller one raises recall.
      beta: weight of the false negatives, at least 0; a smaller one raises precision.
      where: bool ``[n, L]`` or ``[n, 1]``; False leaves a cell out.

    Returns:
      ``[L]``, one loss per label, in [0, 1].

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or a weight is negative.

    A label whose denominator is empty (no known cell, nothing counted) is 0 with gradient 0;
    otherwise a label without positives is 1 with gradient 0, as in :func:`soft_f1`. Computed as
    ``(α FP + β FN) / (TP + α FP + β FN)``, free of cancellation.

    Limits: both weights 1/2 is the Dice loss, :func:`soft_f1`; both 1 is 1 - Jaccard; weights that
    add to 1 are 1 - F-beta.

    Use when: precision is to be traded against recall; Dice and Jaccard.

    References:
      Salehi, Erdogmus, Gholipour, `Tversky loss function for image segmentation using 3D fully
      convolutional deep networks <https://arxiv.org/abs/1706.05721>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import tversky
      >>> logits = np.array([[1.5, -0.5], [-1.0, 0.75], [0.0, 2.0]])
      >>> tversky(logits, np.array([[1, 0], [0, 1], [1, 1]]), alpha=0.3, beta=0.7).round(4)
      array([0.2977, 0.2126])
    """
    alpha = checked_float("alpha", alpha, low=0.0)
    beta = checked_float("beta", beta, low=0.0)
    return _overlap_loss(logits, targets, where, alpha=alpha, beta=beta)


def _overlap_loss(
    logits: Any,
    targets: Any,
    where: Any,
    *,
    alpha: Any,
    beta: Any,
    slope: Any = 1.0,
    offset: Any = 0.0,
) -> Any:
    """`(α FP + β FN) / (TP + α FP + β FN)`."""
    xp, logits, targets, where = checked_labels(logits, targets, where)
    check_matrix("logits", logits)
    targets = as_dtype(xp, targets, logits.dtype)
    if not (is_number(slope) and slope == 1.0 and is_number(offset) and offset == 0.0):
        logits = slope * (logits - offset)
    true, false, _ = apply_rule_over_batch(
        xp, _SoftCounts(), (logits, targets), (alpha, beta), where
    )
    total = true + false
    total = xp.where(total == 0, 1.0, total)
    # the smaller share is divided: no digits are lost, and without a hit the gradient is exactly 0
    return xp.where(true < false, 1.0 - true / total, false / total)


@dataclass(frozen=True)
class _SoftCounts(RowRule):
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
        self, xp: Any, params: Any, where: Any, *arrays: Any, derivative: Any = None
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
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
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
