"""Ranking of the examples of each label: surrogates of average precision and of AUROC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from mlc_losses._array.arguments import check_matrix, checked_float, checked_labels
from mlc_losses._array.batch import batch_sum
from mlc_losses._array.labels import label_count, label_sum
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import sigmoid
from mlc_losses._array.row_rules import RowRule, apply_rule_over_batch
from mlc_losses.losses._pair_sides import pair_sides
from mlc_losses.losses._smooth_ranks import missed_precision


def smooth_average_precision(
    logits: ArrayT,
    targets: Array,
    *,
    temperature: float = 0.01,
    where: Array | None = None,
) -> ArrayT:
    r"""Smooth-AP, across the batch, one value per label; multi-hot targets.

    .. math:: 1 - \frac{1}{|P|} \sum_{i \in P} \frac{1 + \sum_{j \in P, j \ne i} \sigma_{ij}}
              {1 + \sum_{j \ne i} \sigma_{ij}}, \qquad
              \sigma_{ij} = \sigma\Bigl(\frac{s_j - s_i}{\tau}\Bigr)

    where P are the relevant examples of the label, and j runs over the batch.

    Args:
      logits: floating ``[B, L]``; the examples of a label are ranked by them.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      temperature: τ, above 0; below 1e-15 it counts as that. The paper's 0.01 is for cosines: tune
        it for logits.
      where: bool ``[B, L]`` or ``[B, 1]``; False leaves a cell out, in value and gradient.

    Returns:
      ``[L]``, one loss per label, in [0, 1); its mean is a smooth 1 - mAP. float32 for half
      precision logits.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[B, L]``, or ``temperature`` is not above 0.

    A label without a relevant example is 0 with gradient 0, and so is one without any other: leave
    them out of the mean if many labels are rare. Only differences count: nothing tells where to put
    the threshold.

    All pairs are compared, relevant examples with all, in O(B² L) time. Memory is that of a block
    of pairs; the gradient computes the blocks again. Blocks without a relevant example are passed
    over, so a rare label costs little. Differentiating the gradient keeps all pairs.

    A logit right at infinity adds nothing. Infinite logits of one sign are a tie, which counts one
    half, and have gradient 0. As τ falls, the gradient of all pairs but ties vanishes, and that of
    a tie grows as 1 / τ.

    Limits: as τ falls to 0 it is 1 - average precision, ties aside.

    Use when: mAP is the metric: the examples of each label are ranked, relevant ones first.

    References:
      Brown, Xie, Kalogeiton, Zisserman, `Smooth-AP: Smoothing the Path Towards Large-Scale Image
      Retrieval <https://arxiv.org/abs/2007.12163>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import smooth_average_precision
      >>> logits = np.array([[1.5, -0.5], [-1.0, 0.75], [0.0, 2.0], [0.5, 1.0]])
      >>> targets = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
      >>> smooth_average_precision(logits, targets, temperature=0.1).round(4)
      array([0.1659, 0.158 ])
    """
    temperature = checked_float("temperature", temperature, like=logits, above=0.0)
    xp, logits, targets, where = _arguments(logits, targets, where)
    scores, positive, negative = pair_sides(xp, where, logits, targets)
    missed = missed_precision(scores, positive, negative, temperature)
    count = batch_sum(xp.astype(positive, scores.dtype))
    return missed / xp.where(count == 0, 1.0, count)


def auc_margin(
    logits: ArrayT, targets: Array, *, margin: float = 1.0, where: Array | None = None
) -> ArrayT:
    r"""AUC margin loss, across the batch, one value per label; multi-hot targets.

    .. math:: \mathrm{Var}_P(h) + \mathrm{Var}_N(h)
              + \max\bigl(0, m + \mathrm{mean}_N(h) - \mathrm{mean}_P(h)\bigr)^2,
              \qquad h = \sigma(s)

    with means and variances over the relevant examples P of the label, and over the others N.

    Args:
      logits: floating ``[B, L]``.
      targets: ``[B, L]``, bool, integer or float; relevant where above 1/2.
      margin: m, at least 0, between the mean scores of both sides.
      where: bool ``[B, L]`` or ``[B, 1]``; False leaves a cell out, in value and gradient.

    Returns:
      ``[L]``, one loss per label; float32 for half precision logits.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[B, L]``, or ``margin`` is negative.

    A label without a relevant example, or without any other, is 0 with gradient 0. Infinite logits
    are h = 0 and h = 1, with gradient 0. In O(B L); computed from 1 - h of the relevant examples,
    so that at m = 1 a small loss keeps its digits.

    The paper's loss is a minimum over two scalars a and b and a maximum over a third, α, of each
    label, which are learnt with the model. Here they are at their optimum for the batch, which has
    a closed form. So there is nothing more to learn, but the loss of a small batch is biased: it
    uses the means of the batch in place of those of all the data.

    Limits: without the variances and with m = 1 it is a squared hinge on the difference of the mean
    scores, whose pairwise form is :func:`pairwise_hinge` with ``axis=0``.

    Use when: AUROC is the metric, and batches hold examples with and without each label.

    References:
      Yuan, Yan, Sonka, Yang, `Large-scale Robust Deep AUC Maximization: A New Surrogate Loss and
      Empirical Studies on Medical Image Classification <https://arxiv.org/abs/2012.03173>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import auc_margin
      >>> logits = np.array([[1.5, -0.5], [-1.0, 0.75], [0.0, 2.0], [0.5, 1.0]])
      >>> auc_margin(logits, np.array([[1, 0], [0, 1], [1, 1], [0, 0]])).round(4)
      array([0.6757, 0.641 ])
    """
    margin = checked_float("margin", margin, like=logits, low=0.0)
    xp, logits, targets, where = _arguments(logits, targets, where)
    arrays = logits, targets
    return apply_rule_over_batch(xp, _MarginOfMeans(), arrays, (margin,), where, wanted=1)[0]


def _arguments(logits: Any, targets: Any, where: Any) -> tuple[Any, Any, Any, Any]:
    """`(xp, logits, targets, where)`, checked, `[B, L]`."""
    xp, logits, targets, where = checked_labels(logits, targets, where)
    check_matrix("logits", logits)
    return xp, logits, targets, where


class _Means(NamedTuple):
    """How far each example is from right, 0 where it is not on the side; and the means of that."""

    missed: Any  # 1 - h of the positives
    raised: Any  # h of the negatives
    num_positive: Any  # at least 1
    num_negative: Any
    mean_missed: Any
    mean_raised: Any
    excess: Any  # of the margin, at least 0
    one_sided: Any


@dataclass(frozen=True)
class _MarginOfMeans(RowRule):
    """0 where a side is empty."""

    derives_from_values = False

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        scores, positive, negative = pair_sides(xp, where, *arrays)
        means = _means(xp, params, scores, positive, negative)
        missed = xp.where(positive, means.missed - means.mean_missed[..., None], 0.0)
        raised = xp.where(negative, means.raised - means.mean_raised[..., None], 0.0)
        variances = (
            label_sum(missed * missed) / means.num_positive
            + label_sum(raised * raised) / means.num_negative
        )
        # even there a NaN is not to pass for a number
        nothing = label_sum(xp.where(xp.isnan(scores), scores, 0.0))
        return (xp.where(means.one_sided, nothing, variances + means.excess * means.excess),)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        if index > 0:
            return (None,)
        scores, positive, negative = pair_sides(xp, where, *arrays)
        means = _means(xp, params, scores, positive, negative)
        by_missed = means.missed + (means.excess - means.mean_missed)[..., None]
        by_raised = means.raised + (means.excess - means.mean_raised)[..., None]
        derivative = xp.where(
            positive,
            -by_missed / means.num_positive[..., None],
            xp.where(negative, by_raised / means.num_negative[..., None], 0.0),
        )
        derivative = xp.where(means.one_sided[..., None], 0.0, derivative)
        return (2.0 * derivative * (sigmoid(scores) * sigmoid(-scores)),)


def _means(xp: Any, params: Any, scores: Any, positive: Any, negative: Any) -> _Means:
    missed = xp.where(positive, sigmoid(-scores), 0.0)
    raised = xp.where(negative, sigmoid(scores), 0.0)
    num_positive, num_negative = label_count(positive, scores), label_count(negative, scores)
    one_sided = (num_positive == 0) | (num_negative == 0)
    num_positive = xp.where(num_positive == 0, 1.0, num_positive)
    num_negative = xp.where(num_negative == 0, 1.0, num_negative)
    mean_missed, mean_raised = label_sum(missed) / num_positive, label_sum(raised) / num_negative
    # m + mean_N(h) - mean_P(h), which near 0 keeps its digits for m = 1
    excess = xp.clip((params[0] - 1.0) + (mean_missed + mean_raised), 0.0, None)
    return _Means(
        missed, raised, num_positive, num_negative, mean_missed, mean_raised, excess, one_sided
    )
