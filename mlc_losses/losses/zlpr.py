"""ZLPR, the zero-bounded log-sum-exp and pairwise rank-based loss, and what is built on it."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_floating, checked_float, checked_labels, per_example
from mlc_losses._array.namespace import Array, ArrayT, is_0
from mlc_losses._array.ops import sigmoid, sign, weighed
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._pair_sums import two_sided_logsumexp


def zlpr(
    logits: ArrayT,
    targets: Array,
    *,
    threshold: float | Array = 0.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Zero-bounded log-sum-exp and pairwise rank-based loss; multi-hot targets, hard or soft.

    .. math:: \log\Bigl(e^{s_0} + \sum_l (1 - y_l) e^{s_l}\Bigr)
              + \log\Bigl(e^{-s_0} + \sum_l y_l e^{-s_l}\Bigr)

    Every relevant label should score above the threshold :math:`s_0` and every other one below, so
    the prediction is ``logits > threshold``. One formula serves hard targets and soft ones: it is
    exact for any y in [0, 1].

    Args:
      logits: floating ``[..., L]``, one score per label.
      targets: ``[..., L]``, bool, integer or float in [0, 1].
      threshold: the score :math:`s_0` that divides relevant from irrelevant; a number or
        ``[...]``, learnt if it carries a gradient.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    Gradient: :math:`e^s / (e^{s_0} + \sum (1 - y) e^s)` for a negative, and
    :math:`-e^{-s} / (e^{-s_0} + \sum y e^{-s})` for a positive, both for a soft target, weighted by
    1 - y and y. The sum over each side is less than 1, whatever L is. A logit of ``-inf`` on a
    negative, or ``inf`` on a positive, adds nothing; the other way round the loss is ``inf``.
    Without any label (L = 0) it is 0. Forward mode and second derivatives work.

    Limits: one label is :func:`binary_cross_entropy`; always
    ``lsep <= zlpr <= binary_cross_entropy``. For soft targets the minimum is
    :math:`2 \log(1 + \sum \sqrt{y (1 - y)})` at ``logits = logit(y) / 2``, so ``σ(2 logits)``
    gives back a soft target; for random hard labels neither it nor ``σ(logits)`` is calibrated.

    Use when: the whole label set should be right, and a threshold of 0 should work untuned.

    References:
      Su, Zhu, Liang, Liu, Zhang, `ZLPR: A Novel Loss for Multi-label Classification
      <https://arxiv.org/abs/2208.02955>`_, 2022; `hard <https://kexue.fm/archives/7359>`_ and
      `soft <https://kexue.fm/archives/9064>`_ targets.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import zlpr
      >>> logits = np.array([[1.5, -0.5, 2.0, -3.0, 0.25], [-1.0, 0.75, -2.5, 0.5, -0.125]])
      >>> targets = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]])
      >>> zlpr(logits, targets).round(4)
      array([1.3849, 2.0886])
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    bound = None if is_0(threshold) else per_example("threshold", threshold, logits)
    return two_sided_logsumexp(xp, logits, targets, bound, where)


def zlpr_kl(
    logits: ArrayT,
    other_logits: Array,
    *,
    scale: float = 1.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Symmetric KL divergence of two ZLPR outputs; no targets, two arrays of logits.

    .. math:: \sum_l (\sigma(c s_l) - \sigma(c t_l)) (c s_l - c t_l), \qquad c = \text{scale}

    It is the sum over labels of the KL divergence both ways between Bernoulli
    :math:`\sigma(c s)` and Bernoulli :math:`\sigma(c t)`. The ZLPR paper's own formula could not
    be read; this is the one its first author published for the same loss. ``scale=2`` agrees with
    the probabilities ``σ(2 logits)`` of soft targets; the default 1 is the published one.

    Args:
      logits: floating ``[..., L]``.
      other_logits: floating ``[..., L]``, same shape.
      scale: the factor c on both logits.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, at least 0, and 0 where the logits agree (infinite ones included).

    Raises:
      TypeError: either array is not floating-point.
      ValueError: shapes differ.

    The gradient flows into both; use a constant (``stop_gradient``, ``detach``) for one side only.
    The difference of the two sigmoids is formed without cancellation, so that logits of 20 and 21
    are told apart in float32. A finite against an infinite logit is ``inf``.

    Use when: two passes, or a teacher and a student, should agree.

    References:
      Su, `a KL divergence for multi-label classification <https://kexue.fm/archives/9039>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import zlpr_kl
      >>> zlpr_kl(np.array([1.5, -0.5]), np.array([0.5, 0.25])).round(4)
      np.float64(0.3336)
    """
    scale = checked_float("scale", scale, like=logits)
    xp, first, second, where = _two_passes(logits, other_logits, where, axis)
    return sum_over_labels(xp, _SYMMETRIC_KL, (first, second), (scale,), where)


def _two_passes(logits: Any, other_logits: Any, where: Any, axis: int) -> tuple[Any, Any, Any, Any]:
    xp, *arrays = checked_labels(logits, other_logits, where, axis, targets_name="other_logits")
    check_floating(xp, "other_logits", other_logits)
    return xp, *arrays


def _gaps(xp: Any, params: Any, first: Any, second: Any) -> tuple[Any, Any]:
    """`c (s - t)` and `σ(c s) - σ(c t)`, the second free of cancellation."""
    (scale,) = params
    first, second = weighed(first, scale), weighed(second, scale)
    # equal infinities are equal: inf - inf must not be formed
    equal = first == second
    gap = xp.where(equal, 0.0, first) - xp.where(equal, 0.0, second)
    high, low = xp.maximum(first, second), xp.minimum(first, second)
    size = sigmoid(high) * sigmoid(-low) * -xp.expm1(-xp.abs(gap))
    return gap, sign(xp, gap) * size


def _symmetric_kl(xp: Any, params: Any, first: Any, second: Any) -> Any:
    gap, difference = _gaps(xp, params, first, second)
    return gap * difference


def _kl_by_first(xp: Any, params: Any, first: Any, second: Any) -> Any:
    (scale,) = params
    gap, difference = _gaps(xp, params, first, second)
    # at infinity the density is 0, and its product with the gap too
    first = weighed(first, scale)
    density = sigmoid(first) * sigmoid(-first)
    return scale * (difference + xp.where(density == 0, 0.0, density * gap))


def _kl_by_second(xp: Any, params: Any, first: Any, second: Any) -> Any:
    return _kl_by_first(xp, params, second, first)


_SYMMETRIC_KL = LabelSum(_symmetric_kl, (_kl_by_first, _kl_by_second))


def r_drop(
    logits: ArrayT,
    other_logits: ArrayT,
    targets: Array,
    *,
    alpha: float = 1.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""R-Drop for ZLPR: two passes with different dropout must agree; hard or soft targets.

    .. math:: \tfrac12 \bigl(\mathrm{zlpr}(s, y) + \mathrm{zlpr}(t, y)\bigr)
              + \tfrac{\alpha}{2} \, \mathrm{zlpr\_kl}(s, t)

    Args:
      logits: floating ``[..., L]``, the first pass.
      other_logits: floating ``[..., L]``, the second pass of the same examples.
      targets: ``[..., L]``, bool, integer or float in [0, 1].
      alpha: weight of the agreement, at least 0. The R-Drop paper tunes it between 1 and 5.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: either array of logits is not floating-point.
      ValueError: shapes differ, or ``alpha`` is negative.

    The gradient flows into both passes; values and gradients at 0 and at infinity are those of
    :func:`zlpr` and :func:`zlpr_kl`. With ``alpha=0``, or two equal passes, it is :func:`zlpr`.

    Use when: you train :func:`zlpr` with dropout and can afford a second pass.

    References:
      Wu et al., `R-Drop: Regularized Dropout for Neural Networks
      <https://arxiv.org/abs/2106.14448>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import r_drop
      >>> r_drop(np.array([1.5, -0.5]), np.array([0.5, 0.25]), np.array([1, 0])).round(4)
      np.float64(1.1545)
    """
    alpha = checked_float("alpha", alpha, like=logits, low=0.0)
    xp, first, second, mask = _two_passes(logits, other_logits, where, axis)
    _, _, targets, _ = checked_labels(logits, targets, where, axis)
    fit = two_sided_logsumexp(xp, first, targets, None, mask)
    fit = fit + two_sided_logsumexp(xp, second, targets, None, mask)
    if is_0(alpha):
        return 0.5 * fit
    apart = sum_over_labels(xp, _SYMMETRIC_KL, (first, second), (1.0,), mask)
    return 0.5 * (fit + weighed(apart, alpha))
