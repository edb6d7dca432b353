"""Class imbalance: weights, margins and adjustments from class counts, and a loss made of them.

Counts are how many training examples have each label. Those who have only fractions may pass them
where nothing but the ratio of counts matters: `inverse_frequency_weights`, `ldam_margins` and
`logit_adjust`.
"""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_array,
    check_floating,
    checked_float,
    checked_labels,
    per_label,
)
from mlc_losses._array.cross_entropy import faded, faded_derivative, signed
from mlc_losses._array.labels import label_max, label_sum, log_softmax, num_labels
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    as_compute_float,
    is_number,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import relevance, sigmoid, sign
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses._array.value_checks import check_at_least_0

# a ratio that decides any sigmoid, and that 0 can still be multiplied with
_DECIDED = 1e30


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
    xp, seen = _counts(counts, beta=beta)
    seen = _at_least_one(xp, seen)
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
    xp, counts = _counts(counts)
    shares = xp.exp(log_softmax(-power * xp.log(_seen(xp, counts))))
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
    xp, counts = _counts(counts, num_examples)
    positives = _at_least_one(xp, counts)
    negatives = xp.clip(num_examples - positives, 0.0, None)
    weights = (negatives / positives) ** power
    if max_weight is None:
        return weights
    return xp.clip(weights, None, checked_float("max_weight", max_weight, low=0.0))


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
    xp, counts = _counts(counts)
    counts = _seen(xp, counts)
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
    tau = checked_float("tau", tau)
    xp = namespace(logits=logits, counts=counts)
    check_floating(xp, "logits", logits)
    logits = to_compute_dtype(xp, logits)
    _check_counts(xp, counts)
    log_counts = xp.log(_seen(xp, per_label("counts", counts, logits)))
    return logits + tau * log_softmax(log_counts)


def distribution_balanced(
    logits: ArrayT,
    targets: Array,
    counts: Array,
    num_examples: float,
    *,
    alpha: float = 0.1,
    beta: float = 10.0,
    mu: float = 0.2,
    lam: float = 2.0,
    kappa: float = 0.05,
    gamma: float = 2.0,
    balance: float = 2.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Distribution-balanced (DB) loss for long-tailed labels; multi-hot targets in {0, 1}.

    .. math:: b \sum_l r_l \begin{cases} (1 - p)^\gamma (-\log p), \; p = \sigma(z_l) & y_l = 1 \\
              \frac1\lambda \, q^\gamma (-\log (1 - q)), \; q = \sigma(\lambda z_l) & y_l = 0
              \end{cases}

    .. math:: r_l = \alpha + \sigma\Bigl(\beta \Bigl(\frac{1 / n_l}{\sum_{k: y_k = 1} 1 / n_k}
              - \mu\Bigr)\Bigr), \qquad
              z_l = s_l - \frac{\kappa}{\lambda} \log\Bigl(\frac{N}{n_l} - 1\Bigr)

    The weight r undoes that frequent labels are sampled along with rare ones; the scale λ makes
    negatives fade early, and the bias starts each logit at its prior.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      counts: ``[L]``, along the label axis: n, how many training examples have each label; 0
        counts as 1, and N as N - 1.
      num_examples: N, the number of training examples, at least 1.
      alpha: least weight, at least 0.
      beta: steepness of the weight, at least 0.
      mu: the share of :math:`1 / n` at which the weight is in its middle.
      lam: λ above 0, the scale of the negative logits.
      kappa: strength of the bias; 0 for none.
      gamma: focusing exponent, at least 0.
      balance: factor on the whole loss, b.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, of the sums and of the
        weights.
      axis: the label axis.

    Returns:
      ``[...]``, the sum over labels; the authors' code has its mean over batch and labels. The
      defaults are their configuration for COCO-MLT; that for VOC-MLT has ``mu=0.3, lam=5``.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, counts are not ``[L]``, a hyper-parameter is out of range or, in
        eager code, a count is negative, not finite or more than ``num_examples``.

    The gradient flows through the focusing weight; r has none. A right label at infinity adds 0, a
    wrong one ``inf`` with gradient ``b r``. Where no label is relevant r is α + 1, the limit.

    Limits: ``alpha=0.5, beta=0, lam=1, kappa=0, balance=1`` is :func:`focal`.

    The published code adds the bias to the logits in place, which changes them for later code; its
    focal branch ignores ``reduction``; and its constructor's defaults for alpha, beta and mu (10,
    0.2, 0.1) are not those of any of its configurations. Not reproduced.

    Use when: labels are long-tailed and their counts are known.

    References:
      Wu et al., `Distribution-Balanced Loss for Multi-Label Classification in Long-Tailed Datasets
      <https://arxiv.org/abs/2007.09654>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import distribution_balanced
      >>> logits, targets = np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])
      >>> distribution_balanced(logits, targets, np.array([50, 400, 20]), 1000).round(4)
      np.float64(0.0237)
    """
    alpha = checked_float("alpha", alpha, low=0.0)
    beta = checked_float("beta", beta, low=0.0)
    mu = checked_float("mu", mu)
    lam = checked_float("lam", lam, above=0.0)
    kappa = checked_float("kappa", kappa)
    gamma = checked_float("gamma", gamma, low=0.0)
    balance = checked_float("balance", balance, low=0.0)
    num_examples = checked_float("num_examples", num_examples, low=1.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    _check_counts(xp, counts, num_examples)
    counts = xp.broadcast_to(per_label("counts", counts, logits), shape_of(logits))
    total = sum_over_labels(xp, _RARITY, (targets, counts), where=where)
    params = alpha, beta, mu, lam, kappa, gamma, balance, num_examples
    return sum_over_labels(xp, _BALANCED, (logits, targets, counts, total), params, where)


def _rarity_of_relevant(xp: Any, params: Any, targets: Any, counts: Any) -> Any:
    return relevance(xp, targets, counts.dtype) / _at_least_one(xp, counts)


_RARITY = LabelSum(_rarity_of_relevant, (None, None))


def _rebalanced(
    xp: Any, params: Any, logits: Any, targets: Any, counts: Any, total: Any
) -> tuple[Any, Any, Any]:
    """The weight of each label, the factor on its logit, and its logit as a mistake."""
    alpha, beta, mu, lam, kappa, _, balance, num_examples = params
    relevant, sign, _ = signed(xp, logits, targets)
    counts, total = _at_least_one(xp, counts), total[..., None]
    # huge where no label is relevant
    share = xp.where(total > 0, 1.0 / (counts * xp.where(total > 0, total, 1.0)), _DECIDED)
    weight = balance * (alpha + sigmoid(beta * (share - mu)))
    # a label that every example has counts as absent once
    odds_against = xp.maximum(num_examples - counts, xp.ones_like(counts)) / counts
    scale = relevant + lam * (1.0 - relevant)
    wrong = sign * scale * (logits - (kappa / lam) * xp.log(odds_against))
    return weight, sign * scale, wrong


def _balanced(xp: Any, params: Any, *arrays: Any) -> Any:
    weight, factor, wrong = _rebalanced(xp, params, *arrays)
    return weight / xp.abs(factor) * faded(wrong, params[5])


def _balanced_by_logits(xp: Any, params: Any, *arrays: Any) -> Any:
    weight, factor, wrong = _rebalanced(xp, params, *arrays)
    return weight * sign(xp, factor) * faded_derivative(wrong, params[5])


_BALANCED = LabelSum(_balanced, (_balanced_by_logits, None, None, None))


def _counts(counts: Any, num_examples: Any = math.inf, beta: Any = None) -> tuple[Any, Any]:
    """`(xp, counts [L] as floats)`, checked, in the library of a `beta` that is an array."""
    if is_number(counts):
        raise TypeError(f"counts must be an array of shape [L], got the number {counts}")
    xp = namespace(counts=counts) if beta is None else namespace(beta=beta, counts=counts)
    counts = accept_numpy(xp, counts)
    check_array("counts", counts)
    if counts.ndim != 1:
        raise ValueError(f"counts must be an array of shape [L], got {shape_of(counts)}")
    _check_counts(xp, counts, num_examples)
    return xp, as_compute_float(xp, counts)


def _check_counts(xp: Any, counts: Any, num_examples: Any = math.inf) -> None:
    if is_number(counts):
        return  # for `per_label` to refuse
    if not xp.isdtype(counts.dtype, ("integral", "real floating")):
        raise TypeError(f"counts must be integers or floats, got dtype {counts.dtype}")
    high = num_examples if is_number(num_examples) else math.inf
    check_at_least_0("counts", counts, high, "num_examples")


def _at_least_one(xp: Any, counts: Any) -> Any:
    return xp.where(counts < 1, 1.0, counts)  # NaN stays


def _seen(xp: Any, counts: Any) -> Any:
    """Counts where a label never seen counts as seen once, of fractions as the rarest seen."""
    rarest = -label_max(-counts, counts > 0)[..., None]
    return xp.where(counts > 0, counts, xp.where(rarest < 1, rarest, 1.0))


def _mean_one(weights: Any) -> Any:
    mean = label_sum(weights) / max(num_labels(weights), 1)
    return weights / mean
