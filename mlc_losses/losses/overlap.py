"""Set overlap over the batch: F1 and its relatives, made smooth, one value per label."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_matrix, checked_float, checked_labels
from mlc_losses._array.namespace import Array, ArrayT, as_dtype, is_number
from mlc_losses._array.row_rules import apply_rule_over_batch
from mlc_losses.losses._soft_counts import SoftCounts


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
    slope = checked_float("slope", slope, like=logits, above=0.0)
    offset = checked_float("offset", offset, like=logits)
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
    alpha = checked_float("alpha", alpha, like=logits, low=0.0)
    beta = checked_float("beta", beta, like=logits, low=0.0)
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
        xp, SoftCounts(), (logits, targets), (alpha, beta), where
    )
    total = true + false
    total = xp.where(total == 0, 1.0, total)
    # the smaller share is divided: no digits are lost, and without a hit the gradient is exactly 0
    return xp.where(true < false, 1.0 - true / total, false / total)
