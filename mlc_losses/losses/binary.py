"""One label at a time: cross-entropy of each label on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc_losses._array.arguments import (
    check_numbers,
    checked_float,
    checked_labels,
    labels_last,
    per_label,
)
from mlc_losses._array.host import to_host
from mlc_losses._array.labels import label_count, num_labels
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    as_dtype,
    can_look,
    is_number,
    namespace,
    shape_of,
)
from mlc_losses._array.value_checks import check_at_least_0
from mlc_losses.losses._cross_entropy import cross_entropy


def binary_cross_entropy(
    logits: ArrayT,
    targets: Array,
    *,
    pos_weight: float | Array | None = None,
    label_weights: float | Array | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Sigmoid cross-entropy of every label, summed; multi-hot targets, hard or soft.

    .. math:: \sum_l w_l \bigl[p_l \, y_l \log(1 + e^{-s_l}) + (1 - y_l) \log(1 + e^{s_l})\bigr]

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float in [0, 1].
      pos_weight: the factor :math:`p_l \ge 0` on the positive term: a number, ``[L]``, or
        ``[..., L]`` for each cell.
      label_weights: the factor :math:`w_l \ge 0` on each label, likewise.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis, of the weights for each cell too; weights ``[L]`` lie along it.

    Returns:
      ``[...]``, the sum over labels; float32 for half precision logits. PyTorch's
      ``binary_cross_entropy_with_logits`` with ``reduction="mean"`` is its mean divided by L.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or a weight has none of those shapes or, in eager code, is negative
        or not finite where it is known.

    Gradient: :math:`\sigma(s) - y` without weights, exact at 0; the weights have one too. A logit
    of ``-inf`` on a negative or ``inf`` on a positive adds 0; the other way round the loss is
    ``inf`` with gradient 1.

    The baseline that the ZLPR paper calls binary relevance. Predict ``logits > 0``.

    Use when: you want the baseline, which is hard to beat once a threshold is tuned;
    probabilities of single labels; weights.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import binary_cross_entropy
      >>> logits, targets = np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])
      >>> binary_cross_entropy(logits, targets).round(4)
      np.float64(0.8024)
      >>> binary_cross_entropy(logits, targets, pos_weight=2.0).round(4)
      np.float64(1.1308)
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    return _weighted(xp, logits, targets, where, axis, pos_weight, label_weights)


def _weighted(
    xp: Any, logits: Any, targets: Any, where: Any, axis: int, pos_weight: Any, label_weights: Any
) -> Any:
    """The sum, of arguments that are checked but for the weights."""
    if pos_weight is None and label_weights is None:
        return cross_entropy(xp, logits, targets, where)
    negative = _weights("label_weights", label_weights, logits, where, axis)
    positive = negative
    if pos_weight is not None:
        positive = _weights("pos_weight", pos_weight, logits, where, axis)
        positive = positive if negative is None else negative * positive
    return cross_entropy(xp, logits, targets, where, positive, negative)


def _weights(name: str, weights: Any, logits: Any, where: Any, axis: int) -> Any:
    """Weights that multiply the logits, checked; None stays."""
    if weights is None:
        return None
    factors = _factors(name, weights, logits, where, axis)
    known = None
    if where is not None and getattr(weights, "ndim", 0) == where.ndim > 1:
        if not can_look(where):
            return factors
        known = np.moveaxis(to_host("where", where), -1, axis)
    check_at_least_0(name, weights, known=known)
    return factors


def _factors(name: str, weights: Any, like: Any, where: Any, axis: int) -> Any:
    """What multiplies `like` `[..., L]`: a number, weights `[L]`, or one for each cell.

    Those have the shape of the logits, with their label axis at `axis`, and are 0 where `where` is
    False. A Python number stays one.
    """
    if is_number(weights):
        return checked_float(name, weights, low=0.0)
    xp = namespace(logits=like, **{name: weights})
    check_numbers(xp, name, weights)
    weights = accept_numpy(xp, weights)
    if weights.ndim == 0:
        return xp.reshape(as_dtype(xp, weights, like.dtype), (1,) * like.ndim)
    if weights.ndim == 1:
        return per_label(name, weights, like)
    cells = labels_last(xp, weights, axis) if weights.ndim == like.ndim else weights
    if shape_of(cells) != shape_of(like):
        raise ValueError(
            f"{name} must be a number, have one entry per label, shape {shape_of(like)[-1:]}, or "
            f"the shape of the logits, got {shape_of(weights)}"
        )
    cells = as_dtype(xp, cells, like.dtype)
    return cells if where is None else xp.where(where, cells, 0.0)


def multilabel_soft_margin(
    logits: ArrayT,
    targets: Array,
    *,
    label_weights: float | Array | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Mean over the labels of sigmoid cross-entropy; multi-hot targets in {0, 1}.

    .. math:: \frac1L \sum_l w_l \bigl[y_l \log(1 + e^{-s_l}) + (1 - y_l) \log(1 + e^{s_l})\bigr]

    PyTorch's ``MultiLabelSoftMarginLoss``: :func:`binary_cross_entropy` under another name and
    divided by the number of known labels. Here for those who compare with it.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float.
      label_weights: the factor :math:`w_l \ge 0` on each label: a number, ``[L]``, or ``[..., L]``
        for each cell.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, of the sum and of the
        count.
      axis: the label axis.

    Returns:
      ``[...]``, a mean over labels (every other loss is a sum); PyTorch's value with
      ``reduction="none"``. 0 where no label is known.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``label_weights`` has none of those shapes or, in eager code,
        is negative or not finite.

    Gradients at 0 and at infinity are those of :func:`binary_cross_entropy`, divided by L.

    Use when: you compare with PyTorch's loss of that name.

    References:
      `torch.nn.MultiLabelSoftMarginLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html>`_.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multilabel_soft_margin
      >>> multilabel_soft_margin(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.2675)
    """
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    total = _weighted(xp, logits, targets, where, axis, None, label_weights)
    if where is None:
        return total / max(num_labels(logits), 1)
    known = label_count(where, total)
    return total / xp.where(known > 0, known, 1.0)
