"""One label at a time: cross-entropy of each label on its own, and its re-weighted relatives."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.labels import label_count, label_sum
from mlc_losses._array.namespace import Array, ArrayT, label_arguments, number, per_label
from mlc_losses._array.ops import bernoulli_nll, sigmoid, sigmoid_power, softplus


def binary_cross_entropy(
    logits: ArrayT,
    targets: Array,
    *,
    pos_weight: Array | None = None,
    label_weights: Array | None = None,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Sigmoid cross-entropy of every label, summed; multi-hot targets, hard or soft.

    .. math:: \sum_l w_l \bigl[p_l \, y_l \log(1 + e^{-s_l}) + (1 - y_l) \log(1 + e^{s_l})\bigr]

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float in [0, 1].
      pos_weight: ``[L]``, the factor :math:`p_l \ge 0` on the positive term of each label.
      label_weights: ``[L]``, the factor :math:`w_l \ge 0` on each label.
      where: bool ``[..., L]``; False leaves a label out, in value and gradient.
      axis: the label axis; both weights lie along it.

    Returns:
      ``[...]``, the sum over labels; float32 for half precision logits. PyTorch's
      ``binary_cross_entropy_with_logits`` with ``reduction="mean"`` is its mean divided by L.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or a weight is not ``[L]``.

    Gradient: :math:`\sigma(s) - y` without weights, exact at 0. A logit of ``-inf`` on a negative
    or ``inf`` on a positive adds 0; the other way round the loss is ``inf`` with slope 1.

    The baseline that the ZLPR paper calls binary relevance. Predict ``logits > 0``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import binary_cross_entropy
      >>> binary_cross_entropy(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.8024)
    """
    _, logits, targets, where = label_arguments(logits, targets, where, axis)
    return label_sum(_weighted_nll(logits, targets, pos_weight, label_weights), where)


def multilabel_soft_margin(
    logits: ArrayT,
    targets: Array,
    *,
    label_weights: Array | None = None,
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
      label_weights: ``[L]``, the factor :math:`w_l \ge 0` on each label.
      where: bool ``[..., L]``; False leaves a label out, of the sum and of the count.
      axis: the label axis.

    Returns:
      ``[...]``, a mean over labels (every other loss is a sum); PyTorch's value with
      ``reduction="none"``. 0 where no label is known.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``label_weights`` is not ``[L]``.

    Slopes at 0 and at infinity are those of :func:`binary_cross_entropy`, divided by L.

    References:
      `torch.nn.MultiLabelSoftMarginLoss
      <https://docs.pytorch.org/docs/stable/generated/torch.nn.MultiLabelSoftMarginLoss.html>`_.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import multilabel_soft_margin
      >>> multilabel_soft_margin(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.2675)
    """
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    total = label_sum(_weighted_nll(logits, targets, None, label_weights), where)
    known = label_count(xp.ones_like(logits, dtype=xp.bool) if where is None else where, logits)
    return total / xp.where(known > 0, known, 1.0)


def _weighted_nll(logits: Any, targets: Any, pos_weight: Any, label_weights: Any) -> Any:
    positive, negative = targets, 1.0 - targets
    if pos_weight is not None:
        positive = per_label("pos_weight", pos_weight, logits) * positive
    if label_weights is not None:
        weights = per_label("label_weights", label_weights, logits)
        positive, negative = weights * positive, weights * negative
    return bernoulli_nll(logits, positive, negative)


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
      where: bool ``[..., L]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels. torchvision's ``sigmoid_focal_loss`` with
      ``reduction="mean"`` is its mean divided by L.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, ``gamma`` is negative or ``alpha`` is outside [0, 1].

    The power is taken in log space: the gradient, which flows through the focusing weight, is
    finite for any gamma, 0.5 included, at any logit. A right label at infinity adds 0, a wrong
    one ``inf`` with slope 1.

    Limits: ``gamma=0`` without alpha is :func:`binary_cross_entropy`; it is
    ``asymmetric(gamma_neg=gamma, gamma_pos=gamma, margin=0)``.

    References:
      Lin et al., `Focal Loss for Dense Object Detection
      <https://arxiv.org/abs/1708.02002>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import focal
      >>> focal(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.0761)
    """
    gamma = number("gamma", gamma, low=0.0)
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    return label_sum(_focal(xp, *_toward_truth(xp, logits, targets), gamma, alpha), where)


def _toward_truth(xp: Any, logits: Any, targets: Any) -> tuple[Any, Any]:
    """Which labels are relevant, and each logit signed so that a larger one is more right."""
    relevant = targets > 0.5
    return relevant, xp.where(relevant, logits, -logits)


def _focal(xp: Any, relevant: Any, margin: Any, gamma: Any, alpha: float | None) -> Any:
    loss = sigmoid_power(-margin, gamma) * softplus(-margin)
    if alpha is None:
        return loss
    alpha = number("alpha", alpha, low=0.0, high=1.0)
    return xp.where(relevant, alpha * loss, (1.0 - alpha) * loss)


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
      where: bool ``[..., L]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, ``epsilon`` is below -1, ``gamma`` is negative or ``alpha``
        outside [0, 1].

    A right label at infinity adds 0, a wrong one ``inf`` with slope 1.

    Limits: ``epsilon=0`` is :func:`focal`; with ``gamma=0`` too, :func:`binary_cross_entropy`.

    References:
      Leng et al., `PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions
      <https://arxiv.org/abs/2204.12511>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import poly
      >>> poly(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(1.4816)
    """
    epsilon = number("epsilon", epsilon, low=-1.0)
    gamma = number("gamma", gamma, low=0.0)
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    relevant, margin = _toward_truth(xp, logits, targets)
    loss = _focal(xp, relevant, margin, gamma, alpha)
    return label_sum(loss + epsilon * sigmoid_power(-margin, gamma + 1.0), where)


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
      where: bool ``[..., L]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, as the authors' code before it sums the batch. Its scale is
      far from the mean of a cross-entropy; choose the learning rate for it.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, an exponent is negative or ``margin`` is outside [0, 1).

    The gradient flows through the focusing weight. No clamp and no epsilon, so half precision
    inputs, computed in float32, give no NaN. A right label at infinity adds 0; a missed positive
    ``inf`` with slope 1; a wrong negative at infinity ``-(1 - m)^γ log m`` for m > 0, else ``inf``.

    Limits: ``(0, 0, 0)`` is :func:`binary_cross_entropy`; ``margin=0`` with equal exponents is
    :func:`focal`. With mild imbalance begin there, as the authors advise.

    References:
      Ridnik et al., `Asymmetric Loss For Multi-Label Classification
      <https://arxiv.org/abs/2009.14119>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import asymmetric
      >>> asymmetric(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.0564)
    """
    gamma_neg = number("gamma_neg", gamma_neg, low=0.0)
    gamma_pos = number("gamma_pos", gamma_pos, low=0.0)
    margin = number("margin", margin, low=0.0, below=1.0)
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    relevant, toward = _toward_truth(xp, logits, targets)
    if margin == 0.0:
        gamma = xp.where(relevant, xp.full_like(logits, gamma_pos), gamma_neg)
        return label_sum(sigmoid_power(-toward, gamma) * softplus(-toward), where)
    # each branch sees the other's labels at logit 0, so that neither spoils a gradient
    missed = xp.where(relevant, -logits, 0.0)
    positive = sigmoid_power(missed, gamma_pos) * softplus(missed)
    wrong = sigmoid(xp.where(relevant, 0.0, logits)) - margin
    counted = ~(wrong <= 0)  # NaN counts
    wrong = xp.where(counted, wrong, 0.5)
    negative = xp.exp(gamma_neg * xp.log(wrong)) * -xp.log1p(-wrong)
    return label_sum(xp.where(relevant, positive, xp.where(counted, negative, 0.0)), where)


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
    r"""Hill loss, negatives re-weighted so that missed positives do little harm; targets in {0, 1}.

    .. math:: \sum_l \begin{cases} (1 - p_m)^\gamma (-\log p_m) & y = 1 \\
              (\lambda - p) \, p^2 & y = 0 \end{cases}, \qquad
              p = \sigma(s), \; p_m = \sigma(s - m)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2. A negative may be a
        positive that nobody marked.
      margin: m, by how much the logits of the positives are shifted down.
      gamma: focusing exponent of the positives, at least 0.
      lam: λ; with the default 1.5 the slope of a negative vanishes at p = 1.
      where: bool ``[..., L]``; False leaves a label out.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels, as the authors' code before it sums the batch.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``gamma`` is negative.

    The gradient flows through the weight; for a negative it is :math:`3 p^2 (1 - p)^2` at λ = 1.5.
    A negative is bounded by λ - 1 at infinity; a missed positive at ``-inf`` is ``inf``.

    References:
      Zhang et al., `Simple and Robust Loss Design for Multi-Label Learning with Missing Labels
      <https://arxiv.org/abs/2112.07368>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import hill
      >>> hill(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.2502)
    """
    margin = number("margin", margin)
    gamma = number("gamma", gamma, low=0.0)
    lam = number("lam", lam)
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    relevant = targets > 0.5
    missed = xp.where(relevant, margin - logits, 0.0)
    positive = sigmoid_power(missed, gamma) * softplus(missed)
    p = sigmoid(xp.where(relevant, 0.0, logits))
    return label_sum(xp.where(relevant, positive, (lam - p) * p * p), where)
