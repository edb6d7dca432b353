"""Smooth losses over pairs of labels: every relevant label should score above every other one.

With `axis=0` they are pairs of examples: the losses rank the examples of each label.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.arguments import checked_labels, per_example
from mlc_losses._array.labels import label_count, label_max, label_sum
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import stop_gradient, weighed
from mlc_losses._array.row_rules import SharedTermsRule, apply_rule, is_finite
from mlc_losses.losses._cross_entropy import hard_cross_entropy
from mlc_losses.losses._pair_logistic import pair_logistic
from mlc_losses.losses._pair_sides import pair_sides
from mlc_losses.losses._pair_sums import pair_loss


def lsep(logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1) -> ArrayT:
    r"""Log-sum-exp pairwise loss (LSEP), a smooth largest violation; multi-hot targets.

    .. math:: \log\Bigl(1 + \sum_{p \in P} \sum_{n \in N} e^{s_n - s_p}\Bigr)

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example; float32 for half precision logits. All pairs, where the
      paper samples some of them.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    In O(L), since the sum over pairs is a product. Exactly 0, with zero gradient, where no label
    or every label is relevant. A logit of ``-inf`` on a negative, or ``inf`` on a positive, adds
    nothing; the other way round the loss is ``inf`` with gradient 1 there. Only differences count:
    nothing tells where to put the threshold.

    Limits: always ``lsep <= zlpr``; one relevant label is :func:`softmax_cross_entropy`. Some
    published code puts the pairs of the whole batch into one logarithm; here each example has
    its own.

    Use when: the ranking matters and no threshold is needed.

    References:
      Li, Song, Luo, `Improving Pairwise Ranking for Multi-label Image Classification
      <https://arxiv.org/abs/1704.03135>`_, 2017.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import lsep
      >>> lsep(np.array([1.5, -0.5, 2.0, -3.0, 0.25]), np.array([1, 0, 1, 0, 0])).round(4)
      np.float64(0.528)
    """
    _, logits, targets, where = checked_labels(logits, targets, where, axis)
    return pair_loss(logits, targets, where)


def bp_mll(logits: ArrayT, targets: Array, *, where: Array | None = None, axis: int = -1) -> ArrayT:
    r"""BP-MLL, the mean exponential over pairs of labels; multi-hot targets.

    .. math:: \frac{1}{|P| \, |N|} \sum_{p \in P} \sum_{n \in N} e^{-(s_p - s_n)}

    Args:
      logits: floating ``[..., L]``; the paper's are outputs of tanh, so that a pair is at most
        :math:`e^2`.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, of the sum and of the
        counts.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example, 0 where no label or every label is relevant.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ.

    In O(L): a product of two means around the middle of the scores, which overflows no earlier
    than the loss itself does. Some published code sums ``exp`` times a mask, NaN beyond logits of
    88, divides 0 by 0 where a side is empty, or leaves out the factor :math:`1 / |P| |N|`. A label
    right at infinity adds 0; a wrong one is ``inf``, with infinite gradients.

    Use when: you want the classic baseline, for bounded outputs such as tanh.

    References:
      Zhang, Zhou, `Multilabel Neural Networks with Applications to Functional Genomics and Text
      Categorization <https://doi.org/10.1109/TKDE.2006.162>`_, 2006.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import bp_mll
      >>> bp_mll(np.array([1.5, -0.5, 2.0, -3.0, 0.25]), np.array([1, 0, 1, 0, 0])).round(4)
      np.float64(0.1159)
    """
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    return apply_rule(xp, _PAIR_EXP_MEAN, (scores, targets), where=where, wanted=1)[0]


class _PairExpMean(SharedTermsRule):
    """The rule of the mean over the pairs of `e^(s_n - s_p)`; 0 where there is no pair."""

    derives_from_values = False

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any]:
        rise, fall = _rise_and_fall(xp, where, *arrays)
        return (rise.mean * fall.mean,)

    def values_and_derivative(
        self, xp: Any, params: Any, where: Any, *arrays: Any
    ) -> tuple[tuple[Any], Any]:
        rise, fall = _rise_and_fall(xp, where, *arrays)
        by_rise, by_fall = (xp.expand_dims(x, axis=-1) for x in _by_each(rise, fall))
        derivative = weighed(by_rise, rise.terms) - weighed(by_fall, fall.terms)
        return (rise.mean * fall.mean,), derivative

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        rise, fall = _rise_and_fall(xp, where, *arrays)
        value = rise.mean * fall.mean
        if not is_finite(value):
            return None
        if derivative is not None:
            by_rise, by_fall = (x.unsqueeze(-1) for x in _by_each(rise, fall))
            xp.mul(rise.terms, by_rise, out=derivative).addcmul_(fall.terms, by_fall, value=-1.0)
        return (value,)


_PAIR_EXP_MEAN = _PairExpMean()


class _Side(NamedTuple):
    terms: Any
    count: Any  # at least 1
    mean: Any


def _by_each(rise: _Side, fall: _Side) -> tuple[Any, Any]:
    """The derivatives of the product of both means by each term."""
    return fall.mean / rise.count, rise.mean / fall.count


def _rise_and_fall(xp: Any, where: Any, logits: Any, targets: Any) -> tuple[_Side, _Side]:
    """`e^(s - c)` of the negatives and `e^(c - s)` of the positives.

    Of the centre c between the highest negative and the lowest positive, both means are about the
    square root of the product. So neither overflows before the product does, and the derivatives,
    each a term of one mean times the other, are right even then.
    """
    scores, positive, negative = pair_sides(xp, where, logits, targets)
    fixed = stop_gradient(scores)
    high, low = label_max(fixed, negative), -label_max(-fixed, positive)
    # if one side contributes nothing, or is right at infinity, the other is ignored
    absent = ((high == -math.inf) | (low == math.inf)) & ~xp.isnan(high) & ~xp.isnan(low)
    halves = (xp.where(xp.isinf(x), y, x) / 2 for x, y in ((high, low), (low, high)))
    centre = sum(xp.where(xp.isinf(half), 0.0, half) for half in halves)[..., None]
    present = ~absent[..., None]

    def side(mask: Any, exponents: Any) -> _Side:
        count = label_count(mask, scores)
        count = xp.where(count == 0, 1.0, count)
        terms = xp.exp(xp.where(mask & present, exponents, -math.inf))
        return _Side(terms, count, label_sum(terms) / count)

    return side(negative, scores - centre), side(positive, centre - scores)


def calibrated_ranking(
    logits: ArrayT,
    targets: Array,
    *,
    threshold: float | Array = 0.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Calibrated label ranking, logistic over pairs and a virtual label; multi-hot targets.

    .. math:: \sum_{p \in P} \sum_{n \in N} \phi(s_n - s_p) + \sum_{p \in P} \phi(s_0 - s_p)
              + \sum_{n \in N} \phi(s_n - s_0), \qquad \phi(x) = \log(1 + e^x)

    The virtual label :math:`s_0` belongs between the relevant labels and the others, so the
    prediction is ``logits > threshold``.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      threshold: the score :math:`s_0`; a number or ``[...]``, learnt if it carries a gradient.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example: a sum of ``|P| |N| + L`` terms, so divide it by that number
      to compare examples.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or ``threshold`` is neither a number nor ``[...]``.

    O(L²) time, since a sum of logistic pairs has no shortcut; the memory is that of a few labels
    times L, for the gradient too. A label right at infinity adds nothing; a wrong one is ``inf``,
    and its gradient is the number of its pairs, including the one with the threshold.

    Limits: the last two sums are :func:`binary_cross_entropy` of ``logits - threshold``. The paper
    learns each preference by a separate classifier; here one loss for one model has the same
    preferences.

    Use when: you want a ranking and a threshold at once, for up to some thousand labels.

    References:
      Fürnkranz, Hüllermeier, Loza Mencía, Brinker, `Multilabel classification via calibrated
      label ranking <https://doi.org/10.1007/s10994-008-5064-8>`_, 2008.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import calibrated_ranking
      >>> logits = np.array([1.5, -0.5, 2.0, -3.0, 0.25])
      >>> calibrated_ranking(logits, np.array([1, 0, 1, 0, 0])).round(4)
      np.float64(2.3127)
    """
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    shifted = scores - per_example("threshold", threshold, scores)[..., None]
    to_threshold = hard_cross_entropy(xp, shifted, targets, where)
    return pair_logistic(xp, scores, targets, where) + to_threshold
