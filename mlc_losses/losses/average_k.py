"""One label per example, K guesses on average: the threshold, pseudo-labels, the two-head loss."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from mlc_losses._array.arguments import (
    check_floating,
    check_matrix,
    check_same_shape,
    check_static,
    checked_float,
    checked_option,
    checked_where,
)
from mlc_losses._array.batch import batch_any, batch_size
from mlc_losses._array.class_arguments import class_arguments, of_valid
from mlc_losses._array.kth_of_batch import kth_largest
from mlc_losses._array.labels import label_any, log_softmax, num_labels
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    as_dtype,
    is_0,
    is_number,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import stop_gradient, weighed
from mlc_losses._array.row_rules import sum_over_labels
from mlc_losses.losses._batch_ranks import largest_mask, num_examples, rank_of
from mlc_losses.losses._cross_entropy import nll
from mlc_losses.losses._pair_sums import pair_loss


def average_k_threshold(scores: ArrayT, k: float) -> ArrayT:
    r"""The threshold that keeps k classes per example on average; across the batch, no labels.

    .. math:: \lambda = s_{(r)}, \qquad r = \mathrm{round}(n k)

    the r-th largest of all n L scores. ``predict_average_k(scores, threshold)``, which is
    ``scores >= threshold``, then keeps exactly r of them where scores are distinct. Where several
    tie with the threshold all of them are kept: never more than the fewest extra that let one
    threshold keep r.

    Args:
      scores: floating ``[n, L]``, larger for likelier classes. Use log-probabilities (the log of
        the softmax, or logits of a sigmoid): probabilities saturate at 0 and 1 and tie there.
      k: a Python number, 0 < k <= L, not necessarily an integer. The rank is Python's
        ``round(n * k)``, at least 1.

    Returns:
      a scalar, exactly one of the scores, since float32 could round a midpoint past a score;
      float32 for half precision scores. A NaN score makes it NaN. No gradient flows through it.

    Raises:
      TypeError: scores are not floating-point, or ``k`` is not a Python number.
      ValueError: scores are not ``[n, L]``, there are none, or ``k`` is out of range.

    Choose it on validation data, and report :func:`mlc_losses.metrics.mean_set_size` with every
    result: on other data the sets hold k classes only approximately. It is found by a selection,
    not by a sort: ``partition`` in NumPy, ``kthvalue`` in PyTorch, bit by bit in JAX, in time
    linear in the number of scores.

    Limits: with the true probabilities as scores these sets have, among all that hold k classes on
    average, the highest probability to contain the label.

    References:
      Denis, Hebiri, `Consistency of plug-in confidence sets for classification in semi-supervised
      learning <https://arxiv.org/abs/1608.08783>`_, 2016; Lorieul, Joly, Shasha, `Classification
      Under Ambiguity: When Is Average-K Better Than Top-K? <https://arxiv.org/abs/2112.08851>`_,
      2021. The code of Pl@ntNet-300K, by the first author of :func:`average_k_two_head`, uses the
      midpoint between this score and the next one.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import average_k_threshold, predict_average_k
      >>> scores = np.log(np.array([[0.8, 0.1, 0.1], [0.4, 0.35, 0.25]]))
      >>> threshold = average_k_threshold(scores, 1.5)
      >>> predict_average_k(scores, threshold)
      array([[ True, False, False],
             [ True,  True, False]])
    """
    xp = namespace(scores=scores)
    check_floating(xp, "scores", scores)
    check_matrix("scores", scores)
    k = _labels_per_example(k, num_labels(scores))
    if batch_size(scores) == 0:
        raise ValueError(f"scores must have at least one row, got shape {shape_of(scores)}")
    scores = to_compute_dtype(xp, scores)
    missing = xp.isnan(scores)
    # no number ranks below -inf
    threshold = kth_largest(xp.where(missing, -math.inf, scores), _rank(scores, k))
    return xp.where(batch_any(label_any(missing)), math.nan, threshold)


def average_k_pseudo_labels(
    logits: ArrayT,
    labels: Array,
    k: float,
    *,
    rule: str = "exclude_label",
    where: Array | None = None,
) -> ArrayT:
    """Label sets of k classes per example on average, across the batch; one class id per example.

    The labels that a softmax would return at its own average-k threshold, the true one among them:
    the targets of the second head of :func:`average_k_two_head`. All examples are compared with
    one another by their log-softmax, so an ambiguous one gets more classes than a clear one.

    Args:
      logits: floating ``[n, L]``, of a softmax.
      labels: integer class ids ``[n]``, each in 0..L-1.
      k: a Python number, not necessarily an integer: in [1, L] for ``"exclude_label"``, else
        above 0 and at most L.
      rule: ``"exclude_label"``: the label, and the ``round(n * (k - 1))`` largest of all other
        scores, so exactly k per example on average. ``"threshold"``: the ``round(n * k)`` largest
        of all scores, at least one, and the label, so k or a little more. Which of the two the
        paper uses is not known: the default is ours.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a class out. n counts
        the examples with a known class.

    Returns:
      bool ``[n, L]``; scores that tie are taken from the lowest flat index on. No gradient. Under
      jit an example whose label is out of range gets nothing.

    Raises:
      TypeError: logits are not floating-point, labels are not integers, or ``k`` is not a Python
        number.
      ValueError: shapes do not match or are not ``[n, L]``, ``k`` is out of range, ``rule`` is
        unknown or, in eager code, a label is out of range.

    The batch is the whole of ``logits``: under ``jax.jit`` with examples split over devices the
    comparison is between all of them, and only counts travel.

    References:
      see :func:`average_k_two_head`.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import average_k_pseudo_labels
      >>> logits = np.array([[4.0, 0.0, 0.0], [0.2, 0.1, 0.0]])
      >>> average_k_pseudo_labels(logits, np.array([0, 2]), 2).astype(int)
      array([[1, 0, 0],
             [1, 1, 1]])
    """
    xp, scores, is_label, _ = class_arguments(logits, labels, where)
    check_matrix("logits", scores)
    where = checked_where(xp, "logits", scores, where, -1)
    return _pseudo_labels(scores, is_label, where, k, rule)


def average_k_two_head(
    softmax_logits: ArrayT,
    multilabel_logits: ArrayT,
    labels: Array,
    k: float,
    *,
    rule: str = "exclude_label",
    positive_weight: float = 1.0,
    pseudo_weight: float = 1.0,
    negative_weight: float = 1.0,
    head_weight: float = 1.0,
    where: Array | None = None,
) -> ArrayT:
    r"""Two-head loss for average-k classification, across the batch; one class id per example.

    .. math:: -\log \mathrm{softmax}(s)_y + \beta \sum_l w_l \bigl[z_l \log(1 + e^{-t_l})
              + (1 - z_l) \log(1 + e^{t_l})\bigr]

    A softmax head s learns the label; what it finds plausible across the batch, k classes per
    example, becomes the pseudo-labels z of a multi-label head t on the same trunk.

    Args:
      softmax_logits: floating ``[n, L]``, s, of the first head.
      multilabel_logits: floating ``[n, L]``, t, of the second head.
      labels: integer class ids ``[n]``, each in 0..L-1.
      k: a Python number, the classes per example on average; see
        :func:`average_k_pseudo_labels`.
      rule: which scores become pseudo-labels; see there.
      positive_weight: w of the label, at least 0.
      pseudo_weight: w of the other pseudo-labels, at least 0.
      negative_weight: w of the rest, at least 0.
      head_weight: β, the part of the second head, at least 0.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a class out of both
        heads, and an example left out as a whole out of the n that k is averaged over.

    Returns:
      ``[n]``, one loss per example, summed over labels; float32 for half precision logits. A mean
      over labels in the second term is ``head_weight = 1 / L``.

    Raises:
      TypeError: either array of logits is not floating-point, labels are not integers, or ``k`` is
        not a Python number.
      ValueError: shapes do not match or are not ``[n, L]``, ``k`` or a weight is out of range,
        ``rule`` is unknown or, in eager code, a label is out of range.

    Only the paper's abstract could be read, and no code of it was found. That the second head is
    trained on pseudo-labels from thresholding the softmax, k per example on average, is the
    paper's. Its order statistic, whether the label is among the candidates, the weights and the
    reduction are not known: here the defaults of ``rule``, ``positive_weight``, ``pseudo_weight``,
    ``negative_weight`` and ``head_weight``, and the sum over labels, are ours. That both terms
    reach the trunk is our choice too.

    No gradient flows through the pseudo-labels: the first term trains s, the second t. At test
    time either head can be decided by :func:`average_k_threshold`, on ``multilabel_logits`` or on
    the log-softmax of ``softmax_logits``; which one the paper uses is not known.

    Limits: ``k=1`` with the rule "exclude_label" has no pseudo-labels but the label; the second
    term is then :func:`assume_negative`.

    Use when: the size of a predicted set should follow the ambiguity of the input and average
    k.

    References:
      Garcin, Servajean, Joly, Salmon, `A two-head loss function for deep Average-K classification
      <https://arxiv.org/abs/2303.18118>`_, WACV 2025.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import average_k_two_head
      >>> softmax_logits = np.array([[4.0, 0.0, 0.0], [0.2, 0.1, 0.0]])
      >>> multilabel_logits = np.array([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
      >>> average_k_two_head(softmax_logits, multilabel_logits, np.array([0, 2]), 2).round(4)
      array([1.4502, 3.2814])
    """
    positive_weight = checked_float(
        "positive_weight", positive_weight, like=softmax_logits, low=0.0
    )
    pseudo_weight = checked_float("pseudo_weight", pseudo_weight, like=softmax_logits, low=0.0)
    negative_weight = checked_float(
        "negative_weight", negative_weight, like=softmax_logits, low=0.0
    )
    head_weight = checked_float("head_weight", head_weight, like=softmax_logits, low=0.0)
    namespace(softmax_logits=softmax_logits, multilabel_logits=multilabel_logits)
    xp, scores, is_label, valid = class_arguments(
        softmax_logits, labels, where, logits_name="softmax_logits"
    )
    check_floating(xp, "multilabel_logits", multilabel_logits)
    check_same_shape("softmax_logits", scores, "multilabel_logits", multilabel_logits)
    check_matrix("softmax_logits", scores)
    where = checked_where(xp, "softmax_logits", scores, where, -1)
    pseudo = _pseudo_labels(scores, is_label, where, k, rule)
    other = as_dtype(xp, accept_numpy(xp, multilabel_logits), scores.dtype)
    loss = pair_loss(scores, is_label)
    if not is_0(head_weight):  # 0 times infinity
        weights = positive_weight, pseudo_weight, negative_weight
        second = sum_over_labels(xp, _SECOND_HEAD, (other, is_label, pseudo), weights, where)
        loss = loss + weighed(second, head_weight)
    return of_valid(loss, valid)


def _head_weights(xp: Any, params: Any, logits: Any, is_label: Any, pseudo: Any) -> Any:
    """Every label is among the pseudo-labels."""
    of_label, of_pseudo, of_rest = params
    label, pseudo = (as_dtype(xp, mask, logits.dtype) for mask in (is_label, pseudo))
    return of_label * label + of_pseudo * (pseudo - label), of_rest * (1.0 - pseudo)


_SECOND_HEAD = nll(_head_weights, None, None)


def _pseudo_labels(scores: Any, is_label: Any, where: Any, k: Any, rule: str) -> Any:
    """The two rules, for scores `[n, L]` with their labels as a mask."""
    exclude_label = checked_option("rule", rule, {"exclude_label": True, "threshold": False})
    scores = log_softmax(stop_gradient(scores))
    known = is_label | ~is_label if where is None else where
    if exclude_label:
        k = _labels_per_example(k, num_labels(scores), least=1.0)
        rank = rank_of(num_examples(scores, where), k - 1.0, round)
        return is_label | largest_mask(scores, rank, known & ~is_label)
    k = _labels_per_example(k, num_labels(scores))
    return is_label | largest_mask(scores, _rank(scores, k, where), known)


def _rank(scores: Any, k: float, where: Any = None) -> Any:
    """How many of the scores `[n, L]` are k per example: at least one of them, if there is one."""
    rank = rank_of(num_examples(scores, where), k, round)
    most = batch_size(scores) * num_labels(scores)
    if is_number(rank):
        return min(max(rank, 1), most)
    return namespace(rank=rank).clip(rank, 1, most)


def _labels_per_example(k: Any, most: int, least: float = 0.0) -> float:
    """`k` as a float, checked; not an array, as its value decides what is compiled."""
    check_static("k", k, "number")
    if not isinstance(k, Real):
        raise TypeError(f"k must be a Python number, got {type(k).__name__}")
    k = float(k)
    if not (k > 0 and least <= k <= most):
        limits = f"in [{least:g}, {most}]" if least else f"above 0 and at most {most}"
        raise ValueError(f"k must be {limits}, got {k:g}")
    return k
