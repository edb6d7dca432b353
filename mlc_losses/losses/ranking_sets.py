"""Ranking, set against set: each side is summed up first, in one number, and those compared."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.arguments import check_matrix, checked_float, checked_labels, label_arguments
from mlc_losses._array.batch import batch_max, batch_sum
from mlc_losses._array.labels import label_count, label_max, label_sum
from mlc_losses._array.namespace import Array, ArrayT
from mlc_losses._array.ops import relevance, stop_gradient
from mlc_losses._array.row_rules import RowRule, apply_rule, masked_arrays
from mlc_losses.losses._leaning_means import leaning_gap_loss
from mlc_losses.losses._pair_sums import LSEP, pair_loss


def distributional_ranking(
    logits: ArrayT,
    targets: Array,
    *,
    margin: float = 0.5,
    lambda_pos: float = 1.0,
    lambda_neg: float = 0.0798,
    slope: float = 6.0,
    scale: float = 4.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Distributional ranking (DR) loss, hard negatives below hard positives; multi-hot targets.

    .. math:: \frac{c}{k} \log\bigl(1 + e^{k (E_N - E_P + m)}\bigr), \qquad
              E_N = \sum_N q_n p_n, \; q = \mathrm{softmax}_N(p / \lambda_-), \quad
              E_P = \sum_P q_p p_p, \; q = \mathrm{softmax}_P(-p / \lambda_+)

    with :math:`p = \sigma(s)`, c ``scale`` and k ``slope``: the expected probability of a negative,
    under a distribution that prefers high ones, should stay a margin below the expected probability
    of a positive, under one that prefers low ones.

    Args:
      logits: floating ``[..., L]``.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      margin: m, between the two expectations.
      lambda_pos: temperature of the positives, above 0.
      lambda_neg: temperature of the negatives, above 0; the default is 0.1 / ln 3.5.
      slope: sharpness of the logistic loss, above 0.
      scale: factor on the loss.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example. The authors' code, for object detection, takes the two
      distributions over a whole batch; here they are over the labels of the example.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ, or a temperature or ``slope`` is not above 0.

    Where no label is relevant :math:`E_P = 1`, where all are :math:`E_N = 0`; no known label is 0.
    The gradient flows through both distributions. The loss is bounded, at infinity too, where its
    derivative is 0: a label that is badly wrong has little effect.

    Use when: there are few positives among many easy negatives; bounded.

    References:
      Qian et al., `DR Loss: Improving Object Detection by Distributional Ranking
      <https://arxiv.org/abs/1907.10156>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import distributional_ranking
      >>> distributional_ranking(np.array([1.5, -0.5, 2.0]), np.array([1, 0, 1])).round(4)
      np.float64(0.5234)
    """
    margin = checked_float("margin", margin, like=logits)
    lambda_pos = checked_float("lambda_pos", lambda_pos, like=logits, above=0.0)
    lambda_neg = checked_float("lambda_neg", lambda_neg, like=logits, above=0.0)
    slope = checked_float("slope", slope, like=logits, above=0.0)
    scale = checked_float("scale", scale, like=logits)
    xp, scores, targets, where = checked_labels(logits, targets, where, axis)
    params = margin, lambda_pos, lambda_neg, slope, scale
    return leaning_gap_loss(xp, scores, targets, where, params)


def two_way(
    logits: ArrayT,
    targets: Array,
    *,
    temperature_pos: float = 4.0,
    temperature_neg: float = 1.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Two-way loss, across the batch: labels of an example and examples of a label; multi-hot.

    .. math:: \operatorname*{mean}_{i : P_i \ne \emptyset} \ell(s_{i \cdot})
              + \operatorname*{mean}_{l : P_l \ne \emptyset} \ell(s_{\cdot l}), \qquad
              \ell(s) = \log\Bigl(1 + \Bigl(\sum_N e^{s_n / T_-}\Bigr)^{T_-}
              \Bigl(\sum_P e^{-s_p / T_+}\Bigr)^{T_+}\Bigr)

    Args:
      logits: floating ``[B, L]``.
      targets: ``[B, L]`` multi-hot targets, bool, integer or float; relevant where above 1/2.
      temperature_pos: :math:`T_+` of the positives, above 0; the larger, the more of them count.
      temperature_neg: :math:`T_-` of the negatives, above 0.
      where: bool ``[B, L]``, or ``[B, 1]`` for whole examples; False leaves that label of that
        example out.
      axis: the label axis; the other one is the batch.

    Returns:
      a scalar, for the whole batch; 0 without any positive.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[B, L]``, or a temperature is not above 0.

    Examples and labels without a positive are left out of the means; one without a negative counts,
    with 0. The authors' code masks with the logit -100, which leaks beyond it, and is NaN for a
    batch without positives; here the masks are exact. A label right at infinity adds nothing; a
    wrong one makes the loss ``inf``. Its derivative is then the limit, if no other of its example
    or label is wrong at infinity.

    Limits: with both temperatures 1 the mean over examples is that of :func:`lsep`.

    Use when: labels should be ranked within an example, and examples within a label.

    References:
      Kobayashi, `Two-Way Multi-Label Loss
      <https://openaccess.thecvf.com/content/CVPR2023/html/Kobayashi_Two-Way_Multi-Label_Loss_CVPR_2023_paper.html>`_,
      2023.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import two_way
      >>> logits = np.array([[1.5, -0.5, 2.0, -3.0, 0.25], [-1.0, 0.75, -2.5, 0.5, -0.125]])
      >>> targets = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]])
      >>> two_way(logits, targets).round(4)
      np.float64(2.8732)
    """
    positive_t = checked_float("temperature_pos", temperature_pos, like=logits, above=0.0)
    negative_t = checked_float("temperature_neg", temperature_neg, like=logits, above=0.0)
    xp, logits, targets, where = label_arguments(logits, targets, where, axis)
    check_matrix("logits", logits)
    relevant = relevance(xp, targets, logits.dtype)
    temperatures = {"negative_temperature": negative_t, "positive_temperature": positive_t}
    by_example = pair_loss(logits, targets, where, **temperatures)
    by_label = pair_loss(logits, targets, where, **temperatures, over_batch=True)
    # without a positive they are exactly 0
    examples = batch_sum(xp.astype(label_max(relevant) > 0, logits.dtype))
    num_labels = label_count(batch_max(relevant) > 0, logits)
    return batch_sum(by_example) / xp.where(examples == 0, 1.0, examples) + label_sum(
        by_label
    ) / xp.where(num_labels == 0, 1.0, num_labels)


def circle(
    similarities: ArrayT,
    targets: Array,
    *,
    margin: float = 0.25,
    gamma: float = 256.0,
    where: Array | None = None,
    axis: int = -1,
) -> ArrayT:
    r"""Circle loss, each similarity weighted by how far it is from its optimum; multi-hot targets.

    .. math:: \log\Bigl(1 + \sum_{n \in N} e^{\gamma \alpha_n (s_n - m)}
              \sum_{p \in P} e^{-\gamma \alpha_p (s_p - 1 + m)}\Bigr), \qquad
              \alpha_n = [s_n + m]_+, \; \alpha_p = [1 + m - s_p]_+

    Args:
      similarities: floating ``[..., L]``, cosines in [-1, 1] of an example with each label; not
        free logits.
      targets: ``[..., L]``, bool, integer or float; relevant where above 1/2.
      margin: m: positives should be above 1 - m, negatives below m.
      gamma: scale, above 0.
      where: bool ``[..., L]`` or ``[..., 1]``; False leaves a label out, in value and gradient.
      axis: the label axis.

    Returns:
      ``[...]``, one loss per example, 0 where no label or every label is relevant.

    Raises:
      TypeError: similarities are not floating-point.
      ValueError: shapes differ, or ``gamma`` is not above 0.

    Equation (4) of the paper; the weights α carry no gradient, so the gradient is not that of the
    value as a function of s, and second derivatives take α as fixed. The defaults are those of
    the paper's face recognition. A similarity beyond its optimum by m or more has the weight 0,
    and adds :math:`e^0`.

    Limits: with all weights 1 and m = 0 it is :func:`lsep` of ``gamma * similarities``, up to the
    constant :math:`e^\gamma` in the product: equation (1), the unified form.

    Use when: the scores are cosine similarities to label embeddings.

    References:
      Sun et al., `Circle Loss: A Unified Perspective of Pair Similarity Optimization
      <https://arxiv.org/abs/2002.10857>`_, 2020.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import circle
      >>> similarities = np.array([0.3, -0.1, 0.4, -0.6, 0.05])
      >>> circle(similarities, np.array([1, 0, 1, 0, 0]), gamma=64.0).round(4)
      np.float64(27.4149)
    """
    margin = checked_float("margin", margin, like=similarities)
    gamma = checked_float("gamma", gamma, like=similarities, above=0.0)
    xp, similarities, targets, where = checked_labels(
        similarities, targets, where, axis, logits_name="similarities"
    )
    return apply_rule(xp, _CIRCLE, (similarities, targets), (margin, gamma), where, wanted=1)[0]


class _Circle(RowRule):
    """The rule of `lsep`, of similarities that are weighted; its weights are constants."""

    keeps_derivative = True

    def values(self, xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[Any, ...]:
        (weighted, targets), _ = _weighted(xp, params, where, *arrays)
        return LSEP.values(xp, (1.0, 1.0), where, weighted, targets)

    def derivatives(
        self, index: int, xp: Any, params: Any, where: Any, values: Any, *arrays: Any
    ) -> tuple[Any, ...]:
        (weighted, targets), slope = _weighted(xp, params, where, *arrays)
        found = LSEP.derivatives(index, xp, (1.0, 1.0), where, values, weighted, targets)
        return tuple(None if x is None else slope * x for x in found)

    def finite_values(
        self, xp: Any, params: Any, where: Any, wanted: Any, derivative: Any, *arrays: Any
    ) -> Any:
        weighted, slope = _weighted(xp, params, where, *arrays)
        values = LSEP.finite_values(xp, (1.0, 1.0), where, wanted, derivative, *weighted)
        if derivative is not None:
            derivative.mul_(slope)
        return values


_CIRCLE = _Circle()


def _weighted(xp: Any, params: Any, where: Any, *arrays: Any) -> tuple[tuple[Any, Any], Any]:
    """`γ α (s - o)`, where o is the margin or 1 less it, with the targets; and `γ α`."""
    margin, gamma = params
    similarities, targets = masked_arrays(xp, where, arrays)
    relevant = relevance(xp, targets, similarities.dtype)
    fixed = stop_gradient(similarities)
    weights = xp.where(relevant > 0, 1.0 + margin - fixed, fixed + margin)
    slope = gamma * xp.clip(weights, 0.0, None)
    # a target of NaN makes the loss NaN
    beyond = similarities - (margin + relevant * (1.0 - 2.0 * margin))
    # a weight of 0 is 0 even where the similarity is infinite
    return (slope * xp.where(slope == 0, 0.0, beyond), targets), slope
