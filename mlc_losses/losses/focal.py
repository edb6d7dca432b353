"""Cross-entropy of each label that fades where the label is right: focal, poly and Hill loss."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels
from mlc_losses._array.namespace import Array, ArrayT, is_0, is_number
from mlc_losses._array.ops import decided, sigmoid, weighed
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._cross_entropy import (
    blended,
    by_side,
    faded,
    faded_derivative,
    sigmoids_and_nll,
    signed,
)
from mlc_losses.losses._powers import power_from_0


def focal(
    logits: ArrayT,
    targets: Array,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Focal loss, cross-entropy that fades on labels already right; multi-hot targets in {0, 1}.

    .. math:: \sum_l \alpha_t (1 - p_t)^\gamma (-\log p_t), \qquad
              p_t = \sigma(s) \text{ if } y = 1 \text{ else } \sigma(-s)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      gamma: focusing exponent, at least 0.
      alpha: weight in [0, 1] of the positives, ``1 - alpha`` of the negatives; None weighs none.
        The paper pairs ``gamma=2`` with ``alpha=0.25``.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels. torchvision's ``sigmoid_focal_loss`` with
      ``reduction="mean"`` is its mean divided by L.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, ``gamma`` is negative or ``alpha`` is outside [0, 1].

    The power is taken in log space: the gradient, which flows through the focusing weight, is
    finite for any gamma, 0.5 included, at any logit. A right label at infinity adds 0, a wrong
    one ``inf`` with gradient 1.

    Limits: ``gamma=0`` without alpha is :func:`binary_cross_entropy`; it is
    ``asymmetric(gamma_neg=gamma, gamma_pos=gamma, margin=0)``.

    Use when: many negatives are easy.

    References:
      Lin et al., `Focal Loss for Dense Object Detection
      <https://arxiv.org/abs/1708.02002>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import focal
      >>> focal(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.0761)
    """
    params = checked_float("gamma", gamma, like=logits, low=0.0), _share("alpha", alpha), 0.0
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return sum_over_labels(xp, _POLY, (logits, targets), params, where)


def _share(name: str, value: Any) -> Any:
    return None if value is None else checked_float(name, value, low=0.0, high=1.0)


def _balanced(xp: Any, relevant: Any, alpha: Any, x: Any) -> Any:
    """Times alpha for the positives and 1 - alpha for the negatives; 0 times infinity is 0."""
    if alpha is None:
        return x
    weight = 1.0 - alpha + relevant * (2.0 * alpha - 1.0)
    if is_number(alpha) and 0.0 < alpha < 1.0:
        return x * weight
    return weighed(x, weight)


def poly(
    logits: ArrayT,
    targets: Array,
    *,
    epsilon: float = 1.0,
    gamma: float = 0.0,
    alpha: float | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""PolyLoss (Poly-1), a focal loss with a larger leading term; multi-hot targets in {0, 1}.

    .. math:: \sum_l \alpha_t (1 - p_t)^\gamma (-\log p_t) + \epsilon (1 - p_t)^{\gamma + 1}

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      epsilon: weight of the added term, not multiplied by alpha, as in the authors' code. The
        paper tunes it; negative values are allowed down to -1.
      gamma: focusing exponent, at least 0.
      alpha: weight in [0, 1] of the positives in the first term, None for none.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, ``epsilon`` is below -1, ``gamma`` is negative or ``alpha``
        outside [0, 1].

    A right label at infinity adds 0, a wrong one ``inf`` with gradient 1.

    Limits: ``epsilon=0`` is :func:`focal`; with ``gamma=0`` too, :func:`binary_cross_entropy`.

    Use when: you want cross-entropy or focal loss with a tunable leading term.

    References:
      Leng et al., `PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions
      <https://arxiv.org/abs/2204.12511>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import poly
      >>> poly(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(1.4816)
    """
    epsilon = checked_float("epsilon", epsilon, like=logits, low=-1.0)
    gamma = checked_float("gamma", gamma, like=logits, low=0.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    params = gamma, _share("alpha", alpha), epsilon
    return sum_over_labels(xp, _POLY, (logits, targets), params, where)


def _poly(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    gamma, alpha, epsilon = params
    relevant, _, wrong = signed(xp, logits, targets)
    p, _, nll = sigmoids_and_nll(xp, wrong)
    fade = 1.0 if is_0(gamma) else power_from_0(p, gamma)
    focal = _balanced(xp, relevant, alpha, fade * nll)
    return focal if is_0(epsilon) else focal + epsilon * fade * p


def _poly_by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    gamma, alpha, epsilon = params
    # q times an infinite nll would be NaN
    relevant, sign, wrong = signed(xp, logits if is_0(gamma) else decided(logits), targets)
    p, q, nll = sigmoids_and_nll(xp, wrong)
    fade = 1.0 if is_0(gamma) else power_from_0(p, gamma)
    derivative = fade * p if is_0(gamma) else fade * (gamma * q * nll + p)
    derivative = _balanced(xp, relevant, alpha, derivative)
    if not is_0(epsilon):
        derivative = derivative + epsilon * (gamma + 1.0) * fade * p * q
    return sign * derivative


def _finite_poly(xp: Any, params: Any, derivative: Any, logits: Any, targets: Any) -> Any:
    """The same on PyTorch: value and derivative of the same two sigmoids and one logarithm."""
    gamma, alpha, epsilon = params
    relevant, sign, wrong = signed(xp, logits, targets)
    p, q = wrong.sigmoid(), wrong.neg().sigmoid_()
    value = wrong.clamp_(min=0.0).sub_(xp.minimum(p, q).neg_().log1p_())
    fade = None if is_0(gamma) else power_from_0(p, gamma)
    by_logits = None
    if derivative is not None:
        by_logits = p if fade is None else (q * value).mul_(gamma).add_(p).mul_(fade)
        by_logits = _balanced(xp, relevant, alpha, by_logits)
    if fade is not None:
        value.mul_(fade)
    value = _balanced(xp, relevant, alpha, value)
    if not is_0(epsilon):
        added = p if fade is None else fade * p
        value = value.add_(added, alpha=epsilon)
        if by_logits is not None:
            by_logits = xp.addcmul(by_logits, added, q, value=epsilon * (gamma + 1.0))
    if by_logits is not None:
        xp.mul(by_logits, sign, out=derivative)
    return value


_POLY = LabelSum(_poly, (_poly_by_logits, None), _finite_poly)


def hill(
    logits: ArrayT,
    targets: Array,
    *,
    margin: float = 1.0,
    gamma: float = 2.0,
    lam: float = 1.5,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Hill loss: bounded for negatives, as some may be positive; multi-hot targets in {0, 1}.

    .. math:: \sum_l \begin{cases} (1 - p_m)^\gamma (-\log p_m) & y = 1 \\
              (\lambda - p) \, p^2 & y = 0 \end{cases}, \qquad
              p = \sigma(s), \; p_m = \sigma(s - m)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2. A negative may be a
        positive that was never marked.
      margin: m, by how much the logits of the positives are shifted down.
      gamma: focusing exponent of the positives, at least 0.
      lam: λ; with the default 1.5 the gradient of a negative vanishes at p = 1.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, as the authors' code before it sums the batch.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``gamma`` is negative.

    The gradient flows through the weight; for a negative it is :math:`3 p^2 (1 - p)^2` at λ = 1.5.
    A negative is bounded by λ - 1 at infinity; a missed positive at ``-inf`` is ``inf``.

    Use when: some positives were never marked.

    References:
      Zhang et al., `Simple and Robust Loss Design for Multi-Label Learning with Missing Labels
      <https://arxiv.org/abs/2112.07368>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import hill
      >>> hill(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.2502)
    """
    params = (
        checked_float("margin", margin, like=logits),
        checked_float("gamma", gamma, like=logits, low=0.0),
        checked_float("lam", lam, like=logits),
    )
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return sum_over_labels(xp, _HILL, (logits, targets), params, where)


def _hill(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    margin, gamma, lam = params
    is_positive, missed, false = by_side(xp, logits, targets)
    p = sigmoid(false)
    return xp.where(is_positive, faded(missed + margin, gamma), (lam - p) * p * p)


def _hill_by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    margin, gamma, lam = params
    relevant, _, wrong = signed(xp, decided(logits), targets)
    p = sigmoid(wrong)
    negative = (2.0 * lam - 3.0 * p) * p * p * (1.0 - p)
    return blended(relevant, -faded_derivative(wrong + margin, gamma), negative)


_HILL = LabelSum(_hill, (_hill_by_logits, None))
