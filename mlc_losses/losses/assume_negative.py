"""Few positives seen: every label not seen is a negative, in full, weakly or smoothed."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels
from mlc_losses._array.labels import label_count, num_labels
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import relevance
from mlc_losses._array.row_rules import sum_over_labels
from mlc_losses.losses._cross_entropy import cross_entropy, hard_cross_entropy, nll


def assume_negative(
    logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1
) -> ArrayT:
    r"""Every label not seen is treated as a negative (AN); targets 1 = seen positive, 0 = not seen.

    .. math:: \sum_l y_l \log(1 + e^{-s_l}) + (1 - y_l) \log(1 + e^{s_l})

    :func:`binary_cross_entropy` under the name that it has as the baseline of this family.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; seen where above 1/2.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels; float32 for half precision logits. Its mean divided by L is
      the authors' value except for their 1e-5 inside each logarithm: an unseen label at s = 50 has
      gradient 1 here and, in float32, 0 there.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    A right label at infinity adds 0, a wrong one ``inf`` with gradient 1.

    Use when: one positive is seen per example, and you want the baseline.

    References:
      Cole, Mac Aodha, Lorieul, Perona, Morris, Jojic, `Multi-Label Learning from Single Positive
      Labels <https://arxiv.org/abs/2106.09708>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import assume_negative
      >>> assume_negative(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 0])).round(4)
      np.float64(2.8024)
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return hard_cross_entropy(xp, logits, targets, where)


def _seen(xp: Any, targets: Any) -> Any:
    """1 for a label that was seen, else 0; bool targets are kept as they are."""
    if xp.isdtype(targets.dtype, "bool"):
        return targets
    return relevance(xp, targets, targets.dtype)


def weak_assume_negative(
    logits: ArrayT,
    targets: Array,
    *,
    weight: float | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Unseen labels are weak negatives (WAN); targets 1 = seen positive, 0 = not seen.

    .. math:: \sum_l y_l \log(1 + e^{-s_l}) + w (1 - y_l) \log(1 + e^{s_l})

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; seen where above 1/2.
      weight: w, at least 0; None is the authors' 1 / (L - 1), which makes all unseen labels count
        as much as the one that is seen. L is the number of known labels; L = 1 takes 1.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, of the sum and of L.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels. Its mean divided by L is the authors' value, except for the
      1e-5 that :func:`assume_negative` describes.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``weight`` is negative.

    Gradients at infinity are those of :func:`assume_negative`, which ``weight=1`` is, times w.

    Use when: one positive is seen per example, and all negatives together should weigh as one
    label.

    References:
      Cole et al., `Multi-Label Learning from Single Positive Labels
      <https://arxiv.org/abs/2106.09708>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import weak_assume_negative
      >>> weak_assume_negative(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 0])).round(4)
      np.float64(1.5019)
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    if weight is not None:
        weight = checked_float("weight", weight, like=logits, low=0.0)
    elif where is None:
        weight = 1.0 / max(num_labels(logits) - 1, 1)
    else:
        others = label_count(where, logits)[..., None] - 1.0
        weight = 1.0 / xp.where(others > 1.0, others, 1.0)
    return cross_entropy(xp, logits, _seen(xp, targets), where, negative_weight=weight)


def assume_negative_smoothed(
    logits: ArrayT,
    targets: Array,
    *,
    epsilon: float = 0.1,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Unseen labels are negatives, with smoothed targets (AN-LS); 1 = seen positive, 0 = not seen.

    .. math:: \sum_l t_l \log(1 + e^{-s_l}) + (1 - t_l) \log(1 + e^{s_l}), \qquad
              t = (1 - \epsilon) y + \epsilon (1 - y)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; seen where above 1/2.
      epsilon: ε in [0, 1], given entirely to the other side, as in the authors' code; twice the
        epsilon of ``smooth_targets``.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels. Its mean divided by L is the authors' value, except for the
      1e-5 that :func:`assume_negative` describes.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``epsilon`` is outside [0, 1].

    With ε > 0 a label at infinity on either side is ``inf``, with gradient 1 - ε or ε.
    ``epsilon=0`` is :func:`assume_negative`.

    Use when: one positive is seen per example, and smoothed labels should soften the rest.

    References:
      Cole et al., `Multi-Label Learning from Single Positive Labels
      <https://arxiv.org/abs/2106.09708>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import assume_negative_smoothed
      >>> assume_negative_smoothed(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 0])).round(4)
      np.float64(2.8024)
    """
    epsilon = checked_float("epsilon", epsilon, like=logits, low=0.0, high=1.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return sum_over_labels(xp, _SMOOTHED, (logits, targets), (epsilon,), where)


def _smoothed_sides(xp: Any, params: Any, logits: Any, targets: Any) -> tuple[Any, Any]:
    (epsilon,) = params
    seen = relevance(xp, targets, logits.dtype)
    positive = epsilon + (1.0 - 2.0 * epsilon) * seen
    return positive, 1.0 - positive


_SMOOTHED = nll(_smoothed_sides, None)
