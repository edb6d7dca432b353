"""Class imbalance: weights, margins and adjustments from class counts.

Counts are how many training examples have each label. If you have only fractions, pass them where
nothing but the ratio of counts matters: `inverse_frequency_weights`, `ldam_margins` and
`logit_adjust`.
"""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_floating, checked_float, per_label
from mlc_losses._array.labels import label_max, label_sum, log_softmax, num_labels
from mlc_losses._array.namespace import Array, ArrayT, is_number, namespace, to_compute_dtype
from mlc_losses.losses._class_counts import at_least_one, check_counts, checked_counts, seen_counts


def effective_number_weights(counts: Array, *, beta: float = 0.9999) -> Any:
    r"""Class-balanced weights from the effective number of examples, mean 1.

    .. math:: w_c \propto \frac{1 - \beta}{1 - \beta^{n_c}}

    Pass them as ``label_weights`` or ``pos_weight`` of :func:`binary_cross_entropy`.

    Args:
      counts: ``[L]``, integer or floating, how many examples have each label; 0 counts as 1.
      beta: in [0, 1]. 0 gives equal weights, 1 the limit :math:`1 / n_c`.

    Returns:
      ``[L]``, mean 1, in the dtype of floating counts (at least float32), else the default float.
      The authors' code scales them to sum L too, and is for one label per example.

    Raises:
      TypeError: counts are not numbers.
      ValueError: counts are not ``[L]``, or, in eager code, one is negative or not finite; or
        ``beta`` is outside [0, 1].

    Both differences are taken by ``expm1``, so a beta of 1 - 1e-12 is as accurate as one of 0.5,
    in float32 too.

    References:
      Cui et al., `Class-Balanced Loss Based on Effective Number of Samples
      <https://arxiv.org/abs/1901.05555>`_, 2019.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import effective_number_weights
      >>> effective_number_weights(np.array([10, 100, 1000]), beta=0.999).round(4)
      array([2.6778, 0.28  , 0.0422])
    """
    beta = checked_float("beta", beta, low=0.0, high=1.0)
    xp, seen = checked_counts(counts, beta=beta)
    seen = at_least_one(xp, seen)
    if is_number(beta):
        if beta == 1.0:
            return _mean_one(1.0 / seen)
        # the logarithm of a beta near 1 must be taken before it is rounded to float32
        return _mean_one(-1.0 / xp.expm1(seen * (math.log(beta) if beta else -math.inf)))
    log_beta = xp.astype(xp.log(beta), seen.dtype)
    at_limit = log_beta == 0.0
    # not 0 where it is divided by
    sizes = xp.expm1(seen * xp.where(at_limit, -1.0, log_beta))
    return _mean_one(xp.where(at_limit, 1.0 / seen, -1.0 / sizes))


def inverse_frequency_weights(counts: Array, *, power: float = 1.0) -> Any:
    r"""Weights that fall with the frequency of a label, mean 1.

    .. math:: w_c \propto n_c^{-\text{power}}

    Args:
      counts: ``[L]``, integer or floating, how many examples have each label, or what fraction. A
        label never seen counts as seen once (among fractions, as the rarest that was seen).
      power: at least 0: 1/2 gives the square root of the inverse, 0 equal weights.

    Returns:
      ``[L]``, mean 1, in the dtype of floating counts (at least float32), else the default float.

    Raises:
      TypeError: counts are not numbers.
      ValueError: counts are not ``[L]``, or, in eager code, one is negative or not finite; or
        ``power`` is negative.

    Computed as a softmax of ``-power log n``, so no power overflows.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import inverse_frequency_weights
      >>> inverse_frequency_weights(np.array([10, 100, 1000])).round(4)
      array([2.7027, 0.2703, 0.027 ])
    """
    power = checked_float("power", power, low=0.0)
    xp, counts = checked_counts(counts)
    shares = xp.exp(log_softmax(-power * xp.log(seen_counts(xp, counts))))
    return num_labels(counts) * shares


def balanced_pos_weights(
    counts: Array, num_examples: float, *, power: float = 1.0, max_weight: float | None = None
) -> Any:
    r"""Factors on the positive terms that balance each label's positives and negatives.

    .. math:: p_c = \min\Bigl(\Bigl(\frac{N - n_c}{n_c}\Bigr)^{\text{power}}, \text{max}\Bigr)

    Pass them as ``pos_weight`` of :func:`binary_cross_entropy`.

    Args:
      counts: ``[L]``, integer or floating, how many examples have each label; 0 counts as 1.
      num_examples: N, at least 1.
      power: at least 0; less than 1 balances in part.
      max_weight: the largest weight, at least 0, None for no limit; applied last.

    Returns:
      ``[L]``, at least 0, in the dtype of floating counts (at least float32), else the default
      float. A label that every example has is weighted 0 (1 with ``power=0``).

    Raises:
      TypeError: counts are not numbers.
      ValueError: counts are not ``[L]``, or, in eager code, one is negative, not finite or more
        than ``num_examples``; or ``num_examples``, ``power`` or ``max_weight`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import balanced_pos_weights
      >>> balanced_pos_weights(np.array([0, 10, 50]), 100, max_weight=20.0)
      array([20.,  9.,  1.])
    """
    num_examples = checked_float("num_examples", num_examples, low=1.0)
    power = checked_float("power", power, low=0.0)
    xp, counts = checked_counts(counts, num_examples)
    positives = at_least_one(xp, counts)
    negatives = xp.clip(num_examples - positives, 0.0, None)
    weights = (negatives / positives) ** power
    if max_weight is None:
        return weights
    return xp.clip(weights, None, checked_float("max_weight", max_weight, low=0.0, finite=False))


def ldam_margins(counts: Array, *, max_margin: float = 0.5) -> Any:
    r"""Label-distribution-aware margins: the rarer a class, the larger.

    .. math:: m_c = \text{max\_margin} \, (n_{\min} / n_c)^{1/4}

    Args:
      counts: ``[L]``, integer or floating, how many examples have each label, or what fraction. A
        label never seen counts as seen once (among fractions, as the rarest that was seen).
      max_margin: the margin of the rarest class, at least 0. The authors' code has 0.5.

    Returns:
      ``[L]``, in (0, max_margin], in the dtype of floating counts (at least float32), else the
      default float.

    Raises:
      TypeError: counts are not numbers.
      ValueError: counts are not ``[L]``, or, in eager code, one is negative or not finite; or
        ``max_margin`` is negative.

    References:
      Cao et al., `Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss
      <https://arxiv.org/abs/1906.07413>`_, 2019.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import ldam_margins
      >>> ldam_margins(np.array([10, 160, 100000]))
      array([0.5 , 0.25, 0.05])
    """
    max_margin = checked_float("max_margin", max_margin, low=0.0)
    xp, counts = checked_counts(counts)
    counts = seen_counts(xp, counts)
    rarest = -label_max(-counts)
    return max_margin * (rarest / counts) ** 0.25


def logit_adjust(logits: ArrayT, counts: Array, *, tau: float = 1.0) -> ArrayT:
    r"""Logits plus the log of the class prior, for training on imbalanced classes.

    .. math:: s_c + \tau \log \pi_c, \qquad \pi_c = n_c / \textstyle\sum_k n_k

    Train a softmax loss on adjusted logits and predict with the plain ones; or train on plain
    logits and predict with ``tau=-1``.

    Args:
      logits: floating ``[..., L]``, the label axis last.
      counts: ``[L]``, integer or floating, how many examples have each label, or what fraction. A
        label never seen counts as seen once (among fractions, as the rarest that was seen), so
        that no logit becomes infinite.
      tau: the strength; 1 is the paper's consistent choice.

    Returns:
      ``[..., L]``, a new array; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point, or counts are not numbers.
      ValueError: counts are not ``[L]``, or, in eager code, one is negative or not finite.

    References:
      Menon et al., `Long-tail learning via logit adjustment
      <https://arxiv.org/abs/2007.07314>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import logit_adjust
      >>> logit_adjust(np.array([1.0, 1.0]), np.array([90, 10])).round(4)
      array([ 0.8946, -1.3026])
    """
    tau = checked_float("tau", tau, like=logits)
    xp = namespace(logits=logits, counts=counts)
    check_floating(xp, "logits", logits)
    logits = to_compute_dtype(xp, logits)
    check_counts(xp, counts)
    log_counts = xp.log(seen_counts(xp, per_label("counts", counts, logits)))
    return logits + tau * log_softmax(log_counts)


def _mean_one(weights: Any) -> Any:
    mean = label_sum(weights) / max(num_labels(weights), 1)
    return weights / mean
