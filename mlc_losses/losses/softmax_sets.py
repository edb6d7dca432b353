"""Label sets under one softmax."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_labels
from mlc_losses._array.labels import label_count
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import relevance
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._log_sum_exp import log_sum_exp, subtract


def multilabel_softmax(
    logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1
) -> ArrayT:
    r"""Softmax cross-entropy against the label set as a uniform distribution; multi-hot targets.

    .. math:: -\frac{1}{|P|} \sum_{l \in P} \log \mathrm{softmax}(s)_l

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out of the softmax and of the
        mean.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example, 0 where no label is relevant; PyTorch's ``cross_entropy``
      with ``reduction="none"`` against ``targets`` divided by their sum.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    The relevant labels compete with one another: the minimum is ``log |P|``, and nothing tells
    how many labels to predict. A negative at ``-inf`` is deleted; a positive there makes the loss
    ``inf`` with gradient ``-1 / |P|``. A label at ``inf`` takes all the probability: ``inf`` unless
    every positive is one, with gradient 0 there.

    Limits: one relevant label is :func:`softmax_cross_entropy`.

    Use when: you predict the top k of very many labels.

    References:
      Gong et al., `Deep Convolutional Ranking for Multilabel Image Annotation
      <https://arxiv.org/abs/1312.4894>`_, 2013.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multilabel_softmax
      >>> multilabel_softmax(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.7739)
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    relevant = xp.astype(relevance(xp, targets, logits.dtype), xp.bool)
    count = label_count(relevant if where is None else relevant & where, logits)
    peak, log_total = log_sum_exp(xp, logits, where)
    below = sum_over_labels(xp, _BELOW, (logits, targets, peak), where=where)
    return (below + count * log_total) / xp.where(count == 0, 1.0, count)


def _below(xp: Any, params: Any, logits: Any, targets: Any, peak: Any) -> Any:
    """How far a relevant label is below the largest."""
    relevant = relevance(xp, targets, logits.dtype)
    return relevant * xp.where(relevant == 0, 0.0, -subtract(xp, logits, peak[..., None]))


def _below_by_logits(xp: Any, params: Any, logits: Any, targets: Any, peak: Any) -> Any:
    relevant = relevance(xp, targets, logits.dtype)
    return xp.where(logits == math.inf, 0.0, -relevant)


_BELOW = LabelSum(_below, (_below_by_logits, None, None))
