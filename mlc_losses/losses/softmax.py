"""One class per example under a softmax: cross-entropy and its relatives."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels, per_label
from mlc_losses._array.class_arguments import class_scores, of_valid
from mlc_losses._array.labels import at_class, label_count, label_sum, of_class
from mlc_losses._array.namespace import Array, ArrayT, is_0, is_floating
from mlc_losses._array.ops import decided, softplus, weighed
from mlc_losses._array.value_checks import check_at_least_0
from mlc_losses.losses._class_cross_entropy import class_cross_entropy
from mlc_losses.losses._class_odds import class_lead, log_odds_against
from mlc_losses.losses._log_sum_exp import log_sum_exp, sum_below
from mlc_losses.losses._powers import sigmoid_power


def softmax_cross_entropy(
    logits: ArrayT,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Array | None = None,
    z_loss: float = 0.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Softmax cross-entropy; one integer class id per example, or a distribution over the classes.

    .. math:: -\sum_l w_l \, t_l \log \mathrm{softmax}(s)_l + z \Bigl(\log \sum_l e^{s_l}\Bigr)^2,
              \qquad t = (1 - \epsilon) \, e_y + \epsilon / L

    Args:
      logits: floating ``[..., L]``.
      labels: integer class ids ``[...]``, each in 0..L-1; or floating ``[..., L]``, in place of
        :math:`e_y` a distribution: of mixed examples, or of a teacher. It is not normalised.
      label_smoothing: ε in [0, 1], shared out equally over the classes.
      class_weights: ``[L]``, the factor :math:`w_l \ge 0` on the term of each class.
      z_loss: z >= 0; it keeps the sum of the exponentials near 1. PaLM uses 1e-4.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out of
        the softmax. An example whose own class is left out is 0. In place of PyTorch's
        ``ignore_index`` write ``where=(labels >= 0)[..., None]``: of an example that is left out
        as a whole the label is neither checked nor used.
      axis: the axis of the classes.

    Returns:
      ``[...]``, PyTorch's ``cross_entropy`` with ``reduction="none"`` and ``weight``; its mean
      divides by the sum of :math:`w_y` over the examples. float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point, or labels neither integers nor a distribution.
      ValueError: shapes differ, ``class_weights`` is not ``[L]``, ``label_smoothing`` is outside
        [0, 1], ``z_loss`` is negative or, in eager code, a label is out of range or a weight
        negative or not finite; under jit an example with such a label is NaN.

    With a class id, without smoothing, it keeps its digits: a loss of 1e-20 is not rounded to 0.
    A logit of ``-inf`` deletes its class, from the L that the smoothing is divided by too
    (PyTorch's loss is then ``inf``); at the label itself the loss is ``inf`` with gradient -1. A
    label at ``inf`` alone is 0, but for ``z_loss``, which is ``inf`` then.

    Use when: there is exactly one label per example.

    References:
      Szegedy et al., `Rethinking the Inception Architecture for Computer Vision
      <https://arxiv.org/abs/1512.00567>`_, 2016, for the smoothing; Chowdhery et al., `PaLM
      <https://arxiv.org/abs/2204.02311>`_, 2022, for ``z_loss``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import softmax_cross_entropy
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 0.0, -np.inf]])
      >>> softmax_cross_entropy(logits, np.array([2, 0])).round(4)
      array([0.5239, 0.6931])
      >>> mixed = np.array([[0.3, 0.0, 0.7], [0.5, 0.5, 0.0]])
      >>> softmax_cross_entropy(logits, mixed).round(4)
      array([0.6739, 0.6931])
    """
    label_smoothing = checked_float(
        "label_smoothing", label_smoothing, like=logits, low=0.0, high=1.0
    )
    z_loss = checked_float("z_loss", z_loss, like=logits, low=0.0)
    many = getattr(labels, "ndim", None) == getattr(logits, "ndim", 0) and is_floating(labels)
    loss = _of_distribution if many else _of_class_ids
    return loss(logits, labels, label_smoothing, class_weights, z_loss, where, axis)


def _of_class_ids(
    logits: Any, labels: Any, smoothing: Any, class_weights: Any, z_loss: Any, where: Any, axis: int
) -> Any:
    xp, logits, labels, where, valid = class_scores(logits, labels, where, axis)
    loss, *rest = class_cross_entropy(xp, logits, labels, where, 1 if is_0(z_loss) else None)
    ours: Any = loss
    if class_weights is not None:
        factor = of_class(xp.reshape(_class_weights(class_weights, logits), (-1,)), labels)
        ours = factor * _unless_0(xp, factor, loss)
    if not is_0(smoothing) and class_weights is None:
        lead = class_lead(xp, logits, labels, where)
        ours = loss + weighed(xp.where(loss == math.inf, 0.0, lead), smoothing)
    elif not is_0(smoothing):
        shares = _class_weights(class_weights, logits) * _even_shares(xp, logits, where)
        spread, _ = _cross_entropy(xp, logits, shares, where)
        if where is not None:
            spread = xp.where(at_class(where, labels), spread, 0.0)
        ours = weighed(ours, 1.0 - smoothing) + weighed(spread, smoothing)
    loss = ours
    if not is_0(z_loss):
        shift, total = rest
        there = total > 0 if where is None else (total > 0) & at_class(where, labels)
        square = _square(xp, shift + xp.log(xp.where(there, total, 1.0)))
        loss = loss + weighed(xp.where(there, square, 0.0), z_loss)
    return of_valid(loss, valid)


def _of_distribution(
    logits: Any,
    targets: Any,
    smoothing: Any,
    class_weights: Any,
    z_loss: Any,
    where: Any,
    axis: int,
) -> Any:
    xp, logits, targets, where = checked_labels(logits, targets, where, axis, targets_name="labels")
    if where is not None:
        targets = xp.where(where, targets, 0.0)
    if not is_0(smoothing):
        targets = (1.0 - smoothing) * targets + smoothing * _even_shares(xp, logits, where)
    if class_weights is not None:
        targets = _class_weights(class_weights, logits) * targets
    loss, log_total = _cross_entropy(xp, logits, targets, where)
    return loss if is_0(z_loss) else loss + weighed(_square(xp, log_total), z_loss)


def _cross_entropy(xp: Any, logits: Any, targets: Any, where: Any) -> tuple[Any, Any]:
    """`-Σ t log softmax(s)`, of terms none of which is negative, and `log Σ e^s`."""
    peak, log_total = log_sum_exp(xp, logits, where)
    loss = sum_below(xp, logits, targets, peak, where) + label_sum(targets) * log_total
    return loss, peak + log_total


def _even_shares(xp: Any, logits: Any, where: Any) -> Any:
    """1 over the number of classes, of which those at -inf are none."""
    known = logits > -math.inf if where is None else where & (logits > -math.inf)
    count = label_count(known, logits)[..., None]
    return xp.astype(known, logits.dtype) / xp.where(count > 0, count, 1.0)


def _class_weights(weights: Any, logits: Any) -> Any:
    shaped = per_label("class_weights", weights, logits)
    check_at_least_0("class_weights", weights)
    return shaped


def _unless_0(xp: Any, factor: Any, loss: Any) -> Any:
    """The loss; no larger than a number where it is multiplied by 0."""
    return xp.where(factor == 0, xp.clip(loss, None, float(xp.finfo(loss.dtype).max)), loss)


def _square(xp: Any, x: Any) -> Any:
    """`x²`; inf without a gradient where x decides the softmax."""
    near = decided(x)
    return xp.where(xp.abs(near) < xp.abs(x), math.inf, near * near)


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

    Use when: there is one label per example, and many examples are easy.

    References:
      Lin et al., `Focal Loss for Dense Object Detection
      <https://arxiv.org/abs/1708.02002>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import softmax_focal
      >>> softmax_focal(np.array([1.5, -0.5, 2.0]), np.array(2)).round(4)
      np.float64(0.0871)
    """
    gamma = checked_float("gamma", gamma, like=logits, low=0.0)
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

    Use when: there is one label per example, and rare classes need larger margins.

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
    scale = checked_float("scale", scale, like=logits, above=0.0)
    xp, logits, labels, where, valid = class_scores(logits, labels, where, axis)
    margins = xp.reshape(per_label("margins", margins, logits), (-1,))
    # added to the log-odds, not to a logit that may be large: there it would lose its digits
    against = log_odds_against(xp, logits, labels, where, scale=scale)
    margin = of_class(margins, labels)
    if where is not None:
        margin = xp.where(at_class(where, labels), margin, 0.0)
    return of_valid(softplus(against + scale * margin), valid)
