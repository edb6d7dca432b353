"""Few positives seen: labels not seen are left open, or corrected while the model learns."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_flag, checked_float, checked_labels
from mlc_losses._array.namespace import Array, ArrayT, is_number, namespace
from mlc_losses._array.ops import decided, magnitude, relevance, sigmoid, softplus
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._cross_entropy import by_side, faded, faded_derivative


def entropy_maximization(
    logits: ArrayT,
    targets: Array,
    *,
    alpha: float = 0.1,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Entropy maximization (EM) on what was not seen; targets 1 = seen positive, 0 = not seen.

    .. math:: \sum_l y_l \log(1 + e^{-s_l}) - \alpha (1 - y_l) H(\sigma(s_l)), \qquad
              H(p) = -p \log p - (1 - p) \log(1 - p)

    An unseen label is neither positive nor negative: it is pulled towards the logit 0, more gently
    if it is very close to 0 or far from it.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; seen where above 1/2.
      alpha: α, at least 0; the authors take 0.01 to 0.2 by data set.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, down to ``-α L log 2``: it may be negative. Its mean divided
      by L is the authors' value, except for the 1e-5 that :func:`assume_negative` describes.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``alpha`` is negative.

    The gradient of an unseen label is ``α s σ(s) σ(-s)``. At infinity it adds 0 with gradient 0, as
    a seen label at ``inf`` does; a seen one at ``-inf`` is ``inf`` with gradient -1. Since unseen
    labels stay near 0, the authors decide at the probability 0.75, not 0.5; their asymmetric
    pseudo-labels, which are states of a training run, are not part of this function.

    Use when: nothing should be assumed of labels that were not seen.

    References:
      Zhou, Chen, Wang, Chen, Heng, `Acknowledging the Unknown for Multi-label Learning with Single
      Positive Labels <https://arxiv.org/abs/2203.16219>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import entropy_maximization
      >>> entropy_maximization(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 0])).round(4)
      np.float64(0.0986)
    """
    params = (checked_float("alpha", alpha, like=logits, low=0.0),)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return sum_over_labels(xp, _ENTROPY, (logits, targets), params, where)


def _entropy(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    (alpha,) = params
    is_positive, missed, unseen = by_side(xp, logits, targets)
    # of a Bernoulli variable with these logits
    size = magnitude(decided(unseen))
    entropy = softplus(-size) + size * sigmoid(-size)
    return xp.where(is_positive, softplus(missed), -alpha * entropy)


def _entropy_by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    (alpha,) = params
    is_positive, missed, unseen = by_side(xp, logits, targets)
    unseen = decided(unseen)
    by_unseen = alpha * unseen * sigmoid(unseen) * sigmoid(-unseen)
    return xp.where(is_positive, -sigmoid(missed), by_unseen)


_ENTROPY = LabelSum(_entropy, (_entropy_by_logits, None))


def splc(
    logits: ArrayT,
    targets: Array,
    *,
    tau: float = 0.6,
    margin: float = 1.0,
    gamma: float = 2.0,
    correct: bool = True,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Self-paced loss correction (SPLC); targets 1 = seen positive, 0 = not seen.

    .. math:: \sum_l \begin{cases} (1 - q)^\gamma (-\log q) & y = 1 \text{ or } \sigma(s) > \tau \\
              q^\gamma (-\log(1 - q)) & \text{else} \end{cases}, \qquad
              q = \sigma(s - m y)

    An unseen label that the model already finds likely is treated as a positive.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; seen where above 1/2.
      tau: τ in [0, 1]; compared as a logit. The authors take 0.6, or 0.65 where few are missing.
      margin: m, by how much the logits of the seen labels are shifted down.
      gamma: focusing exponent of both sides, at least 0.
      correct: a Python bool; False corrects nothing, as the authors do during the first epoch.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, as the authors' code before it sums the batch.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, ``tau`` is outside [0, 1] or ``gamma`` is negative.

    The gradient flows through the focusing weight, not through the choice. A seen label at ``inf``
    adds 0, at ``-inf`` ``inf`` with gradient -1. An unseen one at ``-inf`` adds 0, and at ``inf``
    too, unless ``correct=False`` or τ = 1: then it is ``inf`` with gradient 1.

    Limits: ``margin=0, correct=False`` is :func:`focal`.

    Use when: confident predictions should become positives while training.

    References:
      Zhang et al., `Simple and Robust Loss Design for Multi-Label Learning with Missing Labels
      <https://arxiv.org/abs/2112.07368>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import splc
      >>> splc(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 0])).round(4)
      np.float64(0.137)
    """
    tau = checked_float("tau", tau, like=logits, low=0.0, high=1.0)
    margin = checked_float("margin", margin, like=logits)
    gamma = checked_float("gamma", gamma, like=logits, low=0.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    params = gamma, margin, _logit(tau) if checked_flag("correct", correct) else math.inf
    return sum_over_labels(xp, _SPLC, (logits, targets), params, where)


def _corrected(xp: Any, params: Any, logits: Any, targets: Any) -> tuple[Any, Any]:
    """The sign of a mistake, and each logit signed so: the larger, the more wrong."""
    _, margin, cut = params
    seen = relevance(xp, targets, logits.dtype)
    positive = (seen > 0) | (logits > cut)
    # an unseen label that is taken for a positive is not shifted; a NaN stays
    sign = xp.where(positive, -1.0, 1.0 - 2.0 * seen)
    return sign, sign * (logits - margin * seen)


def _splc(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    _, wrong = _corrected(xp, params, logits, targets)
    return faded(wrong, params[0])


def _splc_by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    sign, wrong = _corrected(xp, params, logits, targets)
    return sign * faded_derivative(wrong, params[0])


_SPLC = LabelSum(_splc, (_splc_by_logits, None))


def _logit(share: Any) -> Any:
    if not is_number(share):
        xp = namespace(share=share)
        return xp.log(share) - xp.log1p(-share)
    if share in (0.0, 1.0):
        return -math.inf if share == 0.0 else math.inf
    return math.log(share) - math.log1p(-share)
