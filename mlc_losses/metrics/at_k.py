"""Metrics of the k labels of highest score. A NaN score gives NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlc_losses._array.arguments import positive_integer
from mlc_losses._array.labels import label_count, label_sum, looked_up
from mlc_losses._array.namespace import Array, device_of, shape_of
from mlc_losses._array.ops import entries_at
from mlc_losses.decide.sets import predict_top_k
from mlc_losses.metrics._averages import ratio
from mlc_losses.metrics._ranks import (
    Scored,
    checked_scores,
    known_at_least,
    mean_of_examples,
    ranking,
)


def precision_at_k(
    scores: Array,
    targets: Array,
    k: int,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of the k labels of highest score that are relevant, averaged over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L. Always divides by k, even where fewer labels are relevant. Of
        tied labels the lower ids are taken.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]; 0 without examples.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``k`` is out of range or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import precision_at_k
      >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
      >>> precision_at_k(scores, np.array([[1, 0, 1], [0, 1, 1]]), 2)
      np.float64(0.75)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    return mean_of_examples(given, _hits(given, k) / k)


def recall_at_k(
    scores: Array,
    targets: Array,
    k: int,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of the relevant labels that are among the k of highest score, over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L. Of tied labels the lower ids are taken.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]. An example without relevant labels is 0/0 and counts as 0.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``k`` is out of range or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import recall_at_k
      >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
      >>> recall_at_k(scores, np.array([[1, 0, 1], [0, 1, 1]]), 2)
      np.float64(0.75)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    positives = label_count(given.relevant, given.scores)
    return mean_of_examples(given, ratio(given.xp, _hits(given, k), positives))


def one_error(
    scores: Array, targets: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """The share of examples whose label of highest score is not relevant.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1], the lower the better. An example without relevant labels is an error:
      whatever is ranked first is wrong. Of labels tied for the first place the lowest id counts.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import one_error
      >>> one_error(np.array([[0.9, 0.5], [0.2, 0.3]]), np.array([[1, 0], [1, 0]]))
      np.float64(0.5)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    return mean_of_examples(given, 1.0 - _hits(given, 1))


def ndcg_at_k(
    scores: Array,
    targets: Array,
    k: int,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""Discounted gain of the k labels of highest score, over the best that k labels could have.

    .. math:: \sum_{i \le k} \frac{y_{(i)}}{\log_2(1 + i)} \Big/
              \sum_{i \le \min(k, |P|)} \frac{1}{\log_2(1 + i)}

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L; L ranks all labels.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]. Tied labels share the mean discount of their places, as in scikit-learn;
      an example without relevant labels counts as 0.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``k`` is out of range or, in eager code, a
        weight is negative or not finite.

    References:
      McSherry, Najork, `Computing Information Retrieval Performance Measures Efficiently in the
      Presence of Tied Scores <https://doi.org/10.1007/978-3-540-78646-7_38>`_, 2008.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import ndcg_at_k
      >>> ndcg_at_k(np.array([[0.9, 0.5, 0.1]]), np.array([[0, 1, 1]]), 2).round(4)
      np.float64(0.3869)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    xp, scores, relevant = given.xp, given.scores, given.relevant
    k = positive_integer("k", k, shape_of(scores)[-1])
    ranks = ranking(scores)
    at_least = known_at_least(xp, ranks, given.where)
    discounts = _discounts_between(xp, ranks.above, at_least, k, scores)
    tied = xp.astype(at_least - ranks.above, scores.dtype)
    found = entries_at(relevant, ranks.order)
    gain = label_sum(discounts / xp.where(found, tied, 1.0), found)
    positives = xp.count_nonzero(relevant, axis=-1)
    best = _discounts_between(xp, 0 * positives, positives, k, scores)
    return mean_of_examples(given, ratio(xp, gain, best))


def _hits(given: Scored, k: int) -> Any:
    """Of each example how many of the first k labels are relevant."""
    return label_count(predict_top_k(given.scores, k) & given.relevant, given.scores)


def _discounts_between(xp: Any, first: Any, last: Any, k: int, like: Any) -> Any:
    """Sum of the discounts 1 / log2(2 + place) of the places first..last-1 that are below k.

    Prefix sums, each as two float numbers: one alone would round away a small discount far down.
    """
    prefix = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    high = prefix.astype(np.float32)
    total = 0.0
    for part in (high, prefix - high):
        table = xp.astype(xp.asarray(part, device=device_of(like)), like.dtype)
        total = total + (_look_up(xp, table, last) - _look_up(xp, table, first))
    return total


def _look_up(xp: Any, table: Any, places: Any) -> Any:
    """The table's entry at each place, its last one beyond the end."""
    end = shape_of(table)[0] - 1
    return looked_up(table, xp.where(places < end, places, end))
