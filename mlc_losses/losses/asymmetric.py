"""Asymmetric loss: cross-entropy that fades faster on the negatives."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels
from mlc_losses._array.namespace import Array, ArrayT, as_dtype
from mlc_losses._array.ops import decided, sigmoid
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._cross_entropy import blended, signed
from mlc_losses.losses._powers import power_derivative, power_from_0


def asymmetric(
    logits: ArrayT,
    targets: Array,
    *,
    gamma_neg: float = 4.0,
    gamma_pos: float = 1.0,
    margin: float = 0.05,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Asymmetric loss (ASL): negatives fade faster than positives; multi-hot targets in {0, 1}.

    .. math:: \sum_l \begin{cases} (1 - p)^{\gamma_+} (-\log p) & y = 1 \\
              p_m^{\gamma_-} (-\log(1 - p_m)) & y = 0 \end{cases}, \qquad
              p = \sigma(s), \; p_m = \max(p - m, 0)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      gamma_neg: focusing exponent of the negatives, at least 0.
      gamma_pos: focusing exponent of the positives, at least 0. The default is the authors'
        code's; their paper uses 0.
      margin: m in [0, 1); negatives with a probability below it add nothing.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, as the authors' code before it sums the batch. Its scale is
      far from the mean of a cross-entropy; choose the learning rate for it.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, an exponent is negative or ``margin`` is outside [0, 1).

    The gradient flows through the focusing weight. No clamp and no epsilon, so half precision
    inputs, computed in float32, give no NaN. A right label at infinity adds 0; a missed positive
    ``inf`` with gradient 1; a wrong negative at infinity ``-(1 - m)^γ log m`` for m > 0, else
    ``inf``.

    Limits: ``(0, 0, 0)`` is :func:`binary_cross_entropy`; ``margin=0`` with equal exponents is
    :func:`focal`. With mild imbalance begin there, as the authors advise.

    Use when: there are many labels and few of them are on: negatives fade faster.

    References:
      Ridnik et al., `Asymmetric Loss For Multi-Label Classification
      <https://arxiv.org/abs/2009.14119>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import asymmetric
      >>> asymmetric(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.0564)
    """
    gamma_neg = checked_float("gamma_neg", gamma_neg, like=logits, low=0.0)
    gamma_pos = checked_float("gamma_pos", gamma_pos, like=logits, low=0.0)
    margin = checked_float("margin", margin, like=logits, low=0.0, below=1.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    params = gamma_neg, gamma_pos, margin
    return sum_over_labels(xp, _ASYMMETRIC, (logits, targets), params, where)


def _asymmetric(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    *_, fade, nll = _fade_and_nll(xp, params, *signed(xp, logits, targets))
    return fade * nll


def _asymmetric_by_logits(xp: Any, params: Any, logits: Any, targets: Any) -> Any:
    gamma_neg, gamma_pos, _ = params
    relevant, sign, wrong = signed(xp, decided(logits), targets)
    p, q, cut, base, fade, nll = _fade_and_nll(xp, params, relevant, sign, wrong)
    by_base = blended(
        relevant, power_derivative(base, gamma_pos), power_derivative(base, gamma_neg)
    )
    # q / (q + cut): 1 without a cut, also where q is 0
    uncut = as_dtype(xp, cut == 0, q.dtype)
    ratio = (q + uncut) / (q + cut + uncut)
    derivative = sign * p * (q * by_base * nll + fade * ratio)
    return xp.where(base > 0, derivative, 0.0 * wrong)


def _fade_and_nll(
    xp: Any, params: Any, relevant: Any, sign: Any, wrong: Any
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """`b^γ` and `-log(1 - b)`, whose product is the term, after the numbers they are made of.

    `b = max(p - cut, 0)` with `p = 1 - q = σ(wrong)`; a relevant label has no cut.
    """
    gamma_neg, gamma_pos, margin = params
    p, q, cut = sigmoid(wrong), sigmoid(-wrong), margin * (1.0 - relevant)
    base = xp.clip(p - cut, 0.0, None)
    fade = xp.where(relevant > 0, power_from_0(base, gamma_pos), power_from_0(base, gamma_neg))
    # one logarithm for both: without a cut it is softplus(wrong), from the smaller of p and q
    smaller, linear = xp.where(wrong >= 0, q, p), xp.where(wrong >= 0, wrong, 0.0)
    is_cut = cut > 0
    nll = xp.where(is_cut, 0.0, linear) - xp.log1p(-xp.where(is_cut, base, smaller))
    return p, q, cut, base, fade, nll


def _finite_asymmetric(xp: Any, params: Any, derivative: Any, logits: Any, targets: Any) -> Any:
    """The same on PyTorch, in place, with arithmetic instead of choices, which cost more there."""
    gamma_neg, gamma_pos, margin = params
    relevant, sign, wrong = signed(xp, logits, targets)
    p, q, cut = wrong.sigmoid(), wrong.neg().sigmoid_(), (1.0 - relevant).mul_(margin)
    base = (p - cut).clamp_(min=0.0)
    fade = power_from_0(base, gamma_neg).lerp(power_from_0(base, gamma_pos), relevant)
    uncut = relevant if margin > 0 else xp.ones_like(relevant)
    nll = base.lerp(xp.minimum(p, q), uncut).neg_().log1p_().neg_()
    nll.addcmul_(wrong.clamp_(min=0.0), uncut)
    if derivative is not None:
        by_base = power_derivative(base, gamma_neg).lerp(
            power_derivative(base, gamma_pos), relevant
        )
        ratio = (q + uncut).div_(cut.add_(q).add_(uncut))
        xp.mul(by_base.mul_(q).mul_(nll).addcmul_(fade, ratio), p.mul_(sign), out=derivative)
        derivative.mul_(base.sign_())
    return fade.mul_(nll)


_ASYMMETRIC = LabelSum(_asymmetric, (_asymmetric_by_logits, None), _finite_asymmetric)
