"""Softmax over the labels: one class per example, or the label set as a uniform distribution."""

from __future__ import annotations

from mlc_losses._array.classes import class_arguments
from mlc_losses._array.labels import label_any, label_count, label_sum, log_softmax
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    is_number,
    label_arguments,
    number,
    per_label,
)
from mlc_losses._array.ops import sigmoid_power, softplus
from mlc_losses._array.pair_sums import log_pair_sum


def softmax_cross_entropy(
    logits: ArrayT,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Softmax cross-entropy; one integer class id per example.

    .. math:: -\sum_l t_l \log \mathrm{softmax}(s)_l, \qquad
              t = (1 - \epsilon) \, e_y + \epsilon / L

    Args:
      logits: floating ``[..., L]``.
      labels: integer class ids ``[...]``, each in 0..L-1.
      label_smoothing: ε in [0, 1], shared out equally over the classes.
      where: bool ``[..., L]``; False leaves a class out of the softmax. An example whose own
        class is left out is 0.
      axis: the axis of the classes.

    Returns:
      ``[...]``, PyTorch's ``cross_entropy`` with ``reduction="none"``; float32 for half
      precision logits.

    Raises:
      TypeError: logits are not floating-point, or labels are not integers.
      ValueError: shapes differ, ``label_smoothing`` is outside [0, 1] or, in eager code, a label
        is out of range; under jit such an example is NaN.

    Without smoothing it is computed as :func:`lsep` with one positive, ``log1p`` of the odds
    against the label, so that a loss of 1e-20 is not rounded to 0. A logit of ``-inf`` deletes its
    class, from the L that the smoothing is divided by too (PyTorch's loss is then ``inf``); at the
    label itself the loss is ``inf`` with slope -1. A label at ``inf`` alone is 0.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import softmax_cross_entropy
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 0.0, -np.inf]])
      >>> softmax_cross_entropy(logits, np.array([2, 0])).round(4)
      array([0.5239, 0.6931])
    """
    label_smoothing = number("label_smoothing", label_smoothing, low=0.0, high=1.0)
    xp, scores, is_label = class_arguments(logits, labels, where, axis)
    hard = softplus(log_pair_sum(scores, is_label))
    if is_number(label_smoothing) and label_smoothing == 0.0:
        return hard
    present = scores > -xp.inf
    total = -label_sum(log_softmax(scores), present)
    count = label_count(present, scores)
    uniform = xp.where(label_any(is_label), total / xp.where(count == 0, 1.0, count), 0.0)
    if is_number(label_smoothing) and label_smoothing == 1.0:
        return uniform  # 0 * inf otherwise
    return (1.0 - label_smoothing) * hard + label_smoothing * uniform


def softmax_focal(
    logits: ArrayT,
    labels: Array,
    *,
    gamma: float = 2.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Focal loss on a softmax; one integer class id per example.

    .. math:: (1 - p_y)^\gamma (-\log p_y), \qquad p = \mathrm{softmax}(s)

    Args:
      logits: floating ``[..., L]``.
      labels: integer class ids ``[...]``, each in 0..L-1.
      gamma: focusing exponent, at least 0.
      where: bool ``[..., L]``; False leaves a class out. An example whose own class is left out
        is 0.
      axis: the axis of the classes.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: logits are not floating-point, or labels are not integers.
      ValueError: shapes differ, ``gamma`` is negative or, in eager code, a label is out of range.

    Both factors come from the log-odds against the label, never from ``1 - p``: no NaN and no
    lost digits where p is 0 or 1, for any gamma. The gradient flows through the focusing weight.
    Infinite logits as in :func:`softmax_cross_entropy`, which ``gamma=0`` is.

    References:
      Lin et al., `Focal Loss for Dense Object Detection
      <https://arxiv.org/abs/1708.02002>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import softmax_focal
      >>> softmax_focal(np.array([1.5, -0.5, 2.0]), np.array(2)).round(4)
      np.float64(0.0871)
    """
    gamma = number("gamma", gamma, low=0.0)
    _, scores, is_label = class_arguments(logits, labels, where, axis)
    against = log_pair_sum(scores, is_label)
    return sigmoid_power(against, gamma) * softplus(against)


def ldam(logits: ArrayT, labels: Array, margins: Array, *, scale: float = 30.0) -> ArrayT:
    r"""Label-distribution-aware margin loss (LDAM); one integer class id per example.

    .. math:: -\log \mathrm{softmax}\bigl(c \, (s - m_y e_y)\bigr)_y, \qquad c = \text{scale}

    Args:
      logits: floating ``[..., L]``; in the paper cosines, in [-1, 1].
      labels: integer class ids ``[...]``, each in 0..L-1.
      margins: ``[L]``, how far the class is to stay ahead: larger for rare classes, see
        ``ldam_margins``.
      scale: the factor c on the logits, above 0.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: logits are not floating-point, or labels are not integers.
      ValueError: shapes differ, ``margins`` is not ``[L]``, ``scale`` is not above 0 or, in eager
        code, a label is out of range.

    Infinite logits as in :func:`softmax_cross_entropy`, which margins of 0 and ``scale=1`` give.

    References:
      Cao et al., `Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss
      <https://arxiv.org/abs/1906.07413>`_, 2019.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import ldam
      >>> cosines, margins = np.array([0.5, -0.2, 0.6]), np.array([0.1, 0.3, 0.5])
      >>> ldam(cosines, np.array(2), margins).round(4)
      np.float64(12.0)
    """
    scale = number("scale", scale, above=0.0)
    xp, scores, is_label = class_arguments(logits, labels)
    # added to the log-odds, not to a logit that may be large: there it would lose its digits
    margin = label_sum(per_label("margins", margins, scores) * xp.astype(is_label, scores.dtype))
    return softplus(log_pair_sum(scale * scores, is_label) + scale * margin)


def multilabel_softmax(
    logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1
) -> ArrayT:
    r"""Softmax cross-entropy against the label set as a uniform distribution; multi-hot targets.

    .. math:: -\frac{1}{|P|} \sum_{l \in P} \log \mathrm{softmax}(s)_l

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      where: bool ``[..., L]``; False leaves a label out of the softmax and of the mean.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example, 0 where no label is relevant; PyTorch's ``cross_entropy``
      with ``reduction="none"`` against ``targets`` divided by their sum.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    The relevant labels compete with one another: the minimum is ``log |P|``, and nothing tells
    how many labels to predict. A negative at ``-inf`` is deleted; a positive there makes the loss
    ``inf`` with slope ``-1 / |P|``. A label at ``inf`` takes all the probability: ``inf`` unless
    every positive is one, with slope 0 there.

    Limits: one relevant label is :func:`softmax_cross_entropy`.

    References:
      Gong et al., `Deep Convolutional Ranking for Multilabel Image Annotation
      <https://arxiv.org/abs/1312.4894>`_, 2013.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multilabel_softmax
      >>> multilabel_softmax(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.7739)
    """
    xp, scores, targets, where = label_arguments(logits, targets, where, axis)
    positive = targets > 0.5
    log_probabilities = log_softmax(scores, where)
    count = label_count(positive, scores)
    # NaN counts even without a relevant label
    counted = positive | xp.isnan(log_probabilities)
    return -label_sum(log_probabilities, counted) / xp.where(count == 0, 1.0, count)
