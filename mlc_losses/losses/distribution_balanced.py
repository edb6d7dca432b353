"""Distribution-balanced loss: focal loss with weights and a bias from class counts."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import checked_float, checked_labels, per_label
from mlc_losses._array.namespace import Array, ArrayT, namespace
from mlc_losses._array.ops import broadcast_like, relevance, sigmoid, sign, weighed
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._class_counts import at_least_one, check_counts
from mlc_losses.losses._cross_entropy import faded, faded_derivative, signed

# a ratio that decides any sigmoid, and that 0 can still be multiplied with
_DECIDED = 1e30


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
    alpha = checked_float("alpha", alpha, like=logits, low=0.0)
    beta = checked_float("beta", beta, like=logits, low=0.0)
    mu = checked_float("mu", mu, like=logits)
    lam = checked_float("lam", lam, like=logits, above=0.0)
    kappa = checked_float("kappa", kappa, like=logits)
    gamma = checked_float("gamma", gamma, like=logits, low=0.0)
    balance = checked_float("balance", balance, like=logits, low=0.0)
    num_examples = checked_float("num_examples", num_examples, like=logits, low=1.0)
    xp, logits, targets, where = checked_labels(logits, targets, where, axis)
    namespace(logits=logits, counts=counts)
    check_counts(xp, counts, num_examples)
    counts = broadcast_like(xp, per_label("counts", counts, logits), logits)
    total = sum_over_labels(xp, _RARITY, (targets, counts), where=where)
    params = alpha, beta, mu, lam, kappa, gamma, num_examples
    loss = sum_over_labels(xp, _BALANCED, (logits, targets, counts, total), params, where)
    return weighed(loss, balance)


def _rarity_of_relevant(xp: Any, params: Any, targets: Any, counts: Any) -> Any:
    return relevance(xp, targets, counts.dtype) / at_least_one(xp, counts)


_RARITY = LabelSum(_rarity_of_relevant, (None, None))


def _rebalanced(
    xp: Any, params: Any, logits: Any, targets: Any, counts: Any, total: Any
) -> tuple[Any, Any, Any]:
    """The weight of each label, the factor on its logit, and its logit as a mistake."""
    alpha, beta, mu, lam, kappa, _, num_examples = params
    relevant, sign, _ = signed(xp, logits, targets)
    counts, total = at_least_one(xp, counts), total[..., None]
    # huge where no label is relevant
    share = xp.where(total > 0, 1.0 / (counts * xp.where(total > 0, total, 1.0)), _DECIDED)
    weight = alpha + sigmoid(beta * (share - mu))
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
