"""One class per example under a softmax, or several: cross-entropy and its relatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels, per_label
from mlc_losses._array.class_arguments import class_scores, of_valid
from mlc_losses._array.class_odds import log_odds_against
from mlc_losses._array.labels import at_class, label_count, of_class, replaced_at_class
from mlc_losses._array.namespace import Array, ArrayT, is_number
from mlc_losses._array.ops import relevance, sigmoid_power, softplus
from mlc_losses._array.row_rules import (
    LabelSum,
    RowRule,
    apply_rule,
    masked_arrays,
    row_max,
    sum_over_labels,
    sums_of_terms,
)


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
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out of
        the softmax. An example whose own class is left out is 0. In place of PyTorch's
        ``ignore_index`` write ``where=(labels >= 0)[..., None]``: of an example that is left out
        as a whole the label is neither checked nor used.
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
    label itself the loss is ``inf`` with gradient -1. A label at ``inf`` alone is 0.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import softmax_cross_entropy
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 0.0, -np.inf]])
      >>> softmax_cross_entropy(logits, np.array([2, 0])).round(4)
      array([0.5239, 0.6931])
    """
    label_smoothing = checked_float("label_smoothing", label_smoothing, low=0.0, high=1.0)
    xp, logits, labels, where, valid = class_scores(logits, labels, where, axis)
    loss = softplus(log_odds_against(xp, logits, labels, where))
    if is_number(label_smoothing) and label_smoothing == 0.0:
        return of_valid(loss, valid)
    lead, _ = apply_rule(xp, _Lead(), (logits, labels), where=where)
    return of_valid(loss + label_smoothing * xp.where(loss == math.inf, 0.0, lead), valid)


@dataclass(frozen=True)
class _Lead(RowRule):
    """Values: by how much the label leads the classes on average, and their number, a constant.

    Classes at -inf are not there. 0 where the label itself is left out.
    """

    def values(self, xp: Any, params: Any, where: Any, logits: Any, labels: Any) -> Any:
        own = at_class(logits, labels)
        if where is not None:
            logits = xp.where(where, logits, -math.inf)
            own = xp.where(at_class(where, labels), own, -math.inf)

        def terms(x: Any, own: Any) -> tuple[Any, Any]:
            own, present = own[..., None], x > -math.inf
            return -_over(xp, xp.where(present, x, own), own), xp.astype(present, x.dtype)

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
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out. An
        example whose own class is left out is 0.
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
    gamma = checked_float("gamma", gamma, low=0.0)
    xp, logits, labels, where, valid = class_scores(logits, labels, where, axis)
    against = log_odds_against(xp, logits, labels, where)
    # of so large a loss the power is constant: a derivative of 0 is not to meet it
    hopeless = against > 1e30
    power = sigmoid_power(xp.where(hopeless, 0.0, against), gamma)
    return of_valid(xp.where(hopeless, 1.0, power) * softplus(against), valid)


def ldam(
    logits: ArrayT,
    labels: Array,
    margins: Array,
    *,
    scale: float = 30.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Label-distribution-aware margin loss (LDAM); one integer class id per example.

    .. math:: -\log \mathrm{softmax}\bigl(c \, (s - m_y e_y)\bigr)_y, \qquad c = \text{scale}

    Args:
      logits: floating ``[..., L]``; in the paper cosines, in [-1, 1].
      labels: integer class ids ``[...]``, each in 0..L-1.
      margins: ``[L]``, how far the class is to stay ahead: larger for rare classes, see
        ``ldam_margins``.
      scale: the factor c on the logits, above 0.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out. An
        example whose own class is left out is 0.
      axis: the axis of the classes.

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
    scale = checked_float("scale", scale, above=0.0)
    xp, logits, labels, where, valid = class_scores(logits, labels, where, axis)
    margins = xp.reshape(per_label("margins", margins, logits), (-1,))
    # added to the log-odds, not to a logit that may be large: there it would lose its digits
    against = log_odds_against(xp, logits, labels, where, scale=scale)
    margin = of_class(margins, labels)
    if where is not None:
        margin = xp.where(at_class(where, labels), margin, 0.0)
    return of_valid(softplus(against + scale * margin), valid)


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
    shift, log_total = apply_rule(xp, _LogSumExp(), (logits, targets), where=where)
    below = sum_over_labels(xp, _BELOW, (logits, targets, shift), where=where)
    return (below + count * log_total) / xp.where(count == 0, 1.0, count)


@dataclass(frozen=True)
class _LogSumExp(RowRule):
    """Values: the largest logit, a constant here, and `log Σ e^(s - largest)`.

    Labels at inf share the probability, without a gradient.
    """

    def values(self, xp: Any, params: Any, where: Any, logits: Any, targets: Any) -> Any:
        (targets,) = masked_arrays(xp, where, (targets,))
        if where is not None:
            logits = xp.where(where, logits, -math.inf)
        peak = row_max(xp, logits)
        peak = xp.where(peak == -math.inf, 0.0, peak)

        def by_side(x: Any, y: Any, peak: Any) -> tuple[Any, Any]:
            relevant, term = relevance(xp, y, x.dtype), xp.exp(_over(xp, x, peak[..., None]))
            return relevant * term, (1.0 - relevant) * term

        ups, downs = sums_of_terms(xp, by_side, (logits, targets, peak))
        # one relevant label far above the others: the loss keeps its digits
        alone = ups == 1.0
        total = xp.where(alone | (ups + downs == 0), 1.0, ups + downs)
        return peak, xp.where(alone, xp.log1p(downs), xp.log(total))

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, logits: Any, targets: Any
    ) -> tuple[Any, ...]:
        if index == 1:
            return None, None
        peak, log_total = (value[..., None] for value in values)
        share = xp.exp(_over(xp, logits, peak) - log_total)
        counted = ~xp.isinf(logits) if where is None else where & ~xp.isinf(logits)
        return None, xp.where(counted, share, 0.0)


def _over(xp: Any, logits: Any, peak: Any) -> Any:
    """`s - peak`, where two of inf differ by 0."""
    tied = xp.isinf(logits) & (logits == peak)
    return xp.where(tied, 0.0, logits) - xp.where(tied, 0.0, peak)


def _below(xp: Any, params: Any, logits: Any, targets: Any, peak: Any) -> Any:
    """How far a relevant label is below the largest."""
    relevant = relevance(xp, targets, logits.dtype)
    return relevant * xp.where(relevant == 0, 0.0, -_over(xp, logits, peak[..., None]))


def _below_by_logits(xp: Any, params: Any, logits: Any, targets: Any, peak: Any) -> Any:
    relevant = relevance(xp, targets, logits.dtype)
    return xp.where(logits == math.inf, 0.0, -relevant)


_BELOW = LabelSum(_below, (_below_by_logits, None, None))
