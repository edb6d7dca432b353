"""Few positives seen and no negative: losses that look across the batch at what was not seen."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_matrix,
    check_static,
    checked_float,
    checked_option,
    label_arguments,
)
from mlc_losses._array.batch import batch_size, batch_sum
from mlc_losses._array.kth_of_batch import kth_largest
from mlc_losses._array.labels import label_count, label_sum, num_labels
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    as_dtype,
    default_integer,
    is_number,
    namespace,
)
from mlc_losses._array.ops import sigmoid, stop_gradient
from mlc_losses._array.row_rules import LabelSum, sum_over_labels
from mlc_losses.losses._batch_ranks import rank_of
from mlc_losses.losses._cross_entropy import cross_entropy, hard_cross_entropy, nll


def expected_positive(
    logits: ArrayT,
    targets: Array,
    expected: float,
    *,
    weight: float = 1.0,
    where: Array | None = None,
) -> ArrayT:
    r"""Expected positive regularisation (EPR), across the batch; targets 1 = seen, 0 = not seen.

    .. math:: \sum_l y_{il} \log(1 + e^{-s_{il}}) + \frac{w}{L} (\hat k - k)^2, \qquad
              \hat k = \frac1n \sum_{il} \sigma(s_{il})

    It assumes nothing of a single unseen label, only that k labels per example are positive on
    average over the batch.

    Args:
      logits: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; seen where above 1/2.
      expected: k, the number of positives per example, at least 0. With one label per example and k
        guesses on average, use that k.
      weight: w of the penalty, at least 0.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. n counts
        the examples with a known label, L the known labels of each; an example without one is 0.

    Returns:
      ``[n]``, the positive terms of each example and the same penalty for all. Its mean divided by
      L is the authors' value, except for the 1e-5 that :func:`assume_negative` describes.

    Raises:
      TypeError: logits are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or a number is negative.

    A seen label at ``-inf`` is ``inf`` with gradient -1; all else is bounded, with gradient 0 at
    infinity.

    Use when: the number of positives per example is known on average.

    References:
      Cole, Mac Aodha, Lorieul, Perona, Morris, Jojic, `Multi-Label Learning from Single Positive
      Labels <https://arxiv.org/abs/2106.09708>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import expected_positive
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 1.0, -1.0]])
      >>> expected_positive(logits, np.array([[1, 0, 0], [0, 1, 0]]), 1.5).round(4)
      array([0.2291, 0.3409])
    """
    expected = checked_float("expected", expected, like=logits, low=0.0)
    weight = checked_float("weight", weight, like=logits, low=0.0)
    xp, logits, seen, where = _batch(logits, targets, where)
    return cross_entropy(xp, logits, seen, where, negative_weight=0.0) + weight * _count_penalty(
        xp, logits, where, expected
    )


def role(
    logits: ArrayT,
    estimator_logits: ArrayT,
    targets: Array,
    expected: float,
    *,
    where: Array | None = None,
) -> ArrayT:
    r"""Regularised online label estimation (ROLE), across the batch; targets 1 = seen, 0 = not.

    .. math:: \tfrac12 \bigl[\ell(s, \bar t) + \ell(t, \bar s)\bigr], \qquad
              \ell(s, t) = \sum_l y_{il} \log(1 + e^{-s_{il}}) + \sum_l
              \mathrm{BCE}(s_{il}, \sigma(t_{il})) + \frac1L (\hat k(s) - k)^2

    A table of free logits t, one for each training example and label, learns what was not seen
    together with the model s: each is the soft target of the other, which the bar keeps without
    gradient, and both are to have k positives per example over the batch.

    Args:
      logits: floating ``[n, L]``, s, of the model.
      estimator_logits: floating ``[n, L]``, t, the rows of the table for these examples. The
        authors start it at the probability 0.995 where a positive was seen, and uniformly between
        the logits of 0.4 and 0.6 elsewhere, and train it at 10 times the learning rate.
      targets: ``[n, L]``, bool, integer or float; seen where above 1/2.
      expected: k, the number of positives per example, at least 0.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out, as in
        :func:`expected_positive`.

    Returns:
      ``[n]``, one loss per example. Its mean divided by L is the authors' value, except for the
      1e-5 that :func:`assume_negative` describes.

    Raises:
      TypeError: either array of logits is not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``expected`` is negative.

    The gradient flows into both arrays. :math:`\hat k` is that of :func:`expected_positive`, and
    so is half of the value: ``role`` is the mean of ``expected_positive`` of both heads, plus the
    mean of the two cross-entropies. The cross-entropies run over all labels, the seen ones too.
    Where a soft target is exactly 0 or 1 the other side at that infinity adds 0.

    Use when: the number of positives is known on average, and the unseen labels are estimated
    along the way.

    References:
      Cole, Mac Aodha, Lorieul, Perona, Morris, Jojic, `Multi-Label Learning from Single Positive
      Labels <https://arxiv.org/abs/2106.09708>`_, 2021.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import role
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 1.0, -1.0]])
      >>> role(logits, np.zeros((2, 3)), np.array([[1, 0, 0], [0, 1, 0]]), 1.5).round(4)
      array([2.902 , 2.7166])
    """
    expected = checked_float("expected", expected, like=logits, low=0.0)
    xp, logits, seen, where = _batch(logits, targets, where)
    namespace(logits=logits, estimator_logits=estimator_logits)
    xp, estimates, _, _ = label_arguments(
        accept_numpy(xp, estimator_logits), targets, where, logits_name="estimator_logits"
    )
    estimates = as_dtype(xp, estimates, logits.dtype)

    def half(student: Any, teacher: Any) -> Any:
        arrays = student, stop_gradient(teacher), seen
        fit = sum_over_labels(xp, _FIT, arrays, where=where)
        return fit + _count_penalty(xp, student, where, expected)

    return 0.5 * (half(logits, estimates) + half(estimates, logits))


def large_loss(
    logits: ArrayT,
    targets: Array,
    fraction: float,
    *,
    mode: str = "reject",
    where: Array | None = None,
) -> ArrayT:
    r"""Large-loss rejection or correction (LL), across the batch; targets 1 = seen, 0 = not seen.

    .. math:: \sum_{l : y_l = 1} \log(1 + e^{-s_l}) + \sum_{l : y_l = 0} w_l \log(1 + e^{s_l}),
              \qquad w_l = 0 \text{ for the largest of the batch}

    :func:`assume_negative`, but the unseen labels A with the largest losses of the batch, which are
    likely to be positives that were never marked, are left out (``mode="reject"``) or turned into
    positives (``mode="correct"``).

    Args:
      logits: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; seen where above 1/2.
      fraction: a Python number in [0, 1]. The r-th largest loss of an unseen label, and all that
        are as large or larger, are affected, with :math:`r = \lceil n L \cdot fraction \rceil`
        (up to an error of rounding, 1e-6). In the authors' runs it grows from 0 by 0.001 to 0.005
        per epoch.
      mode: ``"reject"`` (LL-R): they add 0; ``"correct"`` (LL-Ct): their targets become 1. The
        authors' third, permanent mode (LL-Cp) is to write the corrected targets back.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. The
        number of known labels is then the n L of r.

    Returns:
      ``[n]``, the sum over labels. Its mean divided by L is the authors' value: they divide by
      all n L, rejected or not.

    Raises:
      TypeError: logits are not floating-point, or ``fraction`` is not a Python number.
      ValueError: shapes differ or are not ``[n, L]``, ``fraction`` is outside [0, 1] or ``mode``
        is unknown.

    A seen positive is never rejected, whatever r is: where r exceeds the number of unseen labels,
    all of these are affected, while the authors' code then drops the seen ones too. The loss grows
    with the logit, so logits are what is compared: no two losses that round to the same number
    tie. No gradient flows through the choice. ``fraction=0`` is :func:`assume_negative`.

    Use when: the unseen labels with the largest losses should be left out, or corrected.

    References:
      Kim, Kim, Akata, Lee, `Large Loss Matters in Weakly Supervised Multi-Label Classification
      <https://arxiv.org/abs/2206.03740>`_, 2022.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import large_loss
      >>> logits = np.array([[1.5, -0.5, 2.0], [0.0, 1.0, -1.0]])
      >>> large_loss(logits, np.array([[1, 0, 0], [0, 1, 0]]), 0.1).round(4)
      array([0.6755, 1.3197])
    """
    corrects = checked_option("mode", mode, {"reject": False, "correct": True})
    check_static("fraction", fraction, "number")
    if not is_number(fraction):
        raise TypeError(f"fraction must be a Python number, got {type(fraction).__name__}")
    fraction = checked_float("fraction", fraction, like=logits, low=0.0, high=1.0)
    xp, logits, seen, where = _batch(logits, targets, where)
    unseen = ~seen if where is None else where & ~seen
    rank = rank_of(_num_cells(xp, logits, where), fraction, math.ceil)
    candidates = xp.where(unseen & ~xp.isnan(logits), stop_gradient(logits), -math.inf)
    cut = kth_largest(candidates, rank)
    # a rank of 0 rejects nothing, not even a logit of inf
    affected = unseen & (candidates >= cut) & (rank > 0)
    if corrects:
        return hard_cross_entropy(xp, logits, seen | affected, where)
    # a NaN is no candidate, and stays
    left = ~affected | xp.isnan(logits)
    return hard_cross_entropy(xp, logits, seen, left if where is None else left & where)


def _seen_and_estimated(
    xp: Any, params: Any, student: Any, teacher: Any, seen: Any
) -> tuple[Any, Any]:
    """The weights of the seen labels' term and of the cross-entropy with the teacher's."""
    return as_dtype(xp, seen, student.dtype) + sigmoid(teacher), sigmoid(-teacher)


_FIT = nll(_seen_and_estimated, None, None)


def _batch(logits: Any, targets: Any, where: Any) -> tuple[Any, Any, Any, Any]:
    """`(xp, logits, seen, where)`, all `[n, L]`; logits are NaN where a target is."""
    xp, logits, targets, where = label_arguments(logits, targets, where)
    check_matrix("logits", logits)
    return xp, xp.where(xp.isnan(targets), math.nan, logits), targets > 0.5, where


def _num_cells(xp: Any, logits: Any, where: Any) -> Any:
    """How many labels of the batch are known."""
    if where is None:
        return batch_size(logits) * num_labels(logits)
    return batch_sum(label_sum(xp.astype(where, default_integer(xp))))


def _probability(xp: Any, params: Any, logits: Any) -> Any:
    return sigmoid(logits)


def _probability_by_logits(xp: Any, params: Any, logits: Any) -> Any:
    return sigmoid(logits) * sigmoid(-logits)


_NUM_LIKELY = LabelSum(_probability, (_probability_by_logits,))


def _count_penalty(xp: Any, logits: Any, where: Any, expected: Any) -> Any:
    """Squared distance of the mean number of positives from the expected one, over L."""
    total = batch_sum(sum_over_labels(xp, _NUM_LIKELY, (logits,), where=where))
    if where is None:
        count = num_labels(logits)
        mean_count = total / max(batch_size(logits), 1)
        # no label at all: nothing to count
        return (mean_count - expected) ** 2 / count if count else 0.0 * mean_count
    counts = label_count(where, logits)
    examples = batch_sum(xp.astype(counts > 0, logits.dtype))
    mean_count = total / xp.where(examples > 0, examples, 1.0)
    share = xp.where(counts > 0, 1.0 / xp.where(counts > 0, counts, 1.0), 0.0)
    return share * (mean_count - expected) ** 2
