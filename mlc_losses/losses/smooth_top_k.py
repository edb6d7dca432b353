"""A smooth hinge over all sets of k classes: one label per example, k guesses."""

from __future__ import annotations

from mlc_losses._array.arguments import checked_float, positive_integer
from mlc_losses._array.class_arguments import class_arguments, of_valid
from mlc_losses._array.labels import label_sum, num_labels
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import softplus
from mlc_losses.losses._smooth_kth import symmetric_ratio
from mlc_losses.losses._top_k_scores import at_label, difference, with_nan_scores


def smooth_top_k_hinge(
    scores: ArrayT,
    labels: Array,
    k: int,
    *,
    tau: float = 1.0,
    margin: float = 1.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Smooth hinge for k guesses, over all sets of k classes; one integer class id per example.

    .. math:: \tau \log\Bigl(1 + e^{\alpha / \tau} \,
              \frac{\sigma_k(e)}{e^{s_y / k \tau} \, \sigma_{k-1}(e)}\Bigr),
              \qquad e_j = e^{s_j / k \tau}, \; j \ne y, \quad \alpha = \text{margin}

    with the elementary symmetric polynomials :math:`\sigma_k(e)`, the sum over all sets of k
    classes other than the label of the product of their :math:`e_j`. It is Berrada's
    :math:`\tau \log \sum_S e^{(\Delta_S + \bar s_S) / \tau}
    - \tau \log \sum_{S \ni y} e^{\bar s_S / \tau}` over the sets S of k classes, with
    :math:`\bar s_S` the mean score of a set and :math:`\Delta_S = \alpha` for a set without y.

    Args:
      scores: floating ``[..., L]``.
      labels: integer class ids ``[...]``, each in 0..L-1.
      k: how many guesses, a Python integer in 1..L; k = L is 0.
      tau: temperature, above 0.
      margin: α, at least 0.
      where: bool ``[..., L]``, or ``[..., 1]`` for whole examples; False leaves a class out, as
        a score of ``-inf`` does. An example whose own class is left out is 0.
      axis: the axis of the classes.

    Returns:
      ``[...]``, one loss per example.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes differ, ``k``, ``tau`` or ``margin`` is out of range or, in eager code, a
        label is out of range; under jit such an example is NaN.

    Value and gradient are exact for every k and tau, in O(kL); the authors' code falls back to the
    hard loss where scores are far apart, truncates its gradient at small tau, and has a wrong
    gradient at k = 1. As tau falls to 0 it becomes
    :math:`\max(0, \alpha + (s_{\setminus y, [k]} - s_y) / k)`; k = 1 with margin 0 and tau 1 is
    :func:`softmax_cross_entropy`. Note the 1/k on the scores: learning rates differ from those of
    :func:`top_k_hinge`. A class at ``-inf`` is deleted, the loss is 0 where fewer than k rivals
    are left. k rivals at ``inf`` make it ``inf`` with no gradient on them; the label at ``-inf``,
    ``inf`` with gradient -1/k. Any NaN score makes its example NaN. Forward mode and second
    derivatives work.

    Use when: you want a deterministic smooth loss for k guesses.

    References:
      Berrada, Zisserman, Kumar, `Smooth Loss Functions for Deep Top-k Classification
      <https://arxiv.org/abs/1802.07595>`_, 2018.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import smooth_top_k_hinge
      >>> scores, labels = np.array([[2.0, 0.5, 1.5, 1.0]]), np.array([1])
      >>> smooth_top_k_hinge(scores, labels, 2).round(4)
      array([1.7014])
    """
    tau, margin = (
        checked_float("tau", tau, like=scores, above=0.0),
        checked_float("margin", margin, like=scores, low=0.0),
    )
    xp, scores, is_label, valid = class_arguments(scores, labels, where, axis, logits_name="scores")
    k = positive_integer("k", k, num_labels(scores))
    kth, log_ratio = symmetric_ratio(xp.where(is_label, -xp.inf, scores), k, k * tau)
    lead = difference(kth, label_sum(at_label(scores, is_label))) / k
    # infinities apart: the derivative by the temperature would be 0 * inf
    endless = xp.isinf(lead)
    near = tau * softplus((margin + xp.where(endless, 0.0, lead)) / tau + log_ratio)
    far = xp.where(lead > 0, margin + lead + tau * log_ratio, 0.0)
    loss = xp.where(endless, far, near)
    return of_valid(with_nan_scores(loss, scores, is_label), valid)
