"""Metrics of how each example ranks all of its labels. A NaN score gives NaN."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.labels import label_any, label_count, label_max, label_sum
from mlc_losses._array.namespace import Array
from mlc_losses.metrics._averages import ratio
from mlc_losses.metrics._ranks import (
    amounts,
    average_precisions,
    checked_scores,
    known_at_least,
    mean_of_examples,
    ranking,
    rows_of,
    up_to,
)


def label_ranking_average_precision(
    scores: Array, targets: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """For each relevant label, the share of relevant ones among those ranked as high; the mean.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in (0, 1]; 0 without examples. An example with no relevant label, or with nothing
      else, cannot be ranked wrongly and counts as 1, as in scikit-learn.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import label_ranking_average_precision
      >>> scores = np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]])
      >>> label_ranking_average_precision(scores, np.array([[1, 0, 0], [0, 0, 1]])).round(4)
      np.float64(0.4167)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    precision = average_precisions(given.xp, rows_of(given))
    # everything relevant is 1 by itself
    return mean_of_examples(given, given.xp.where(label_any(given.relevant), precision, 1.0))


def ranking_loss(
    scores: Array, targets: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """The share of pairs of a relevant and another label that are in the wrong order or tied.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1], the lower the better. An example without such a pair counts as 0, as in
      scikit-learn's ``label_ranking_loss``.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import ranking_loss
      >>> ranking_loss(np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), np.eye(3)[[0, 2]])
      np.float64(0.75)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    xp, scores, relevant, where, _ = given
    ranks = ranking(scores)
    hits = amounts(xp, relevant, ranks, None)
    at_least = known_at_least(xp, ranks, given.where)
    wrong = xp.astype(at_least - up_to(xp, hits, ranks.at_least), scores.dtype)
    positives = label_count(relevant, scores)
    negatives = label_count(~relevant if where is None else where & ~relevant, scores)
    # dividing twice: the number of pairs itself need not fit
    shares = ratio(xp, ratio(xp, label_sum(wrong, hits > 0), positives), negatives)
    return mean_of_examples(given, shares)


def coverage_error(
    scores: Array, targets: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """How far down the ranking one must go, on average, to meet every relevant label.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, L], the lower the better. Counted from 1, ties included; an example without
      relevant labels counts as 0, as in scikit-learn. (Tsoumakas et al. count from 0.)

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import coverage_error
      >>> coverage_error(np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), np.eye(3)[[0, 2]])
      np.float64(2.5)
    """
    given = checked_scores(scores, targets, where, sample_weight)
    xp, scores, relevant, where, _ = given
    lowest = -label_max(-scores, relevant)
    as_high = scores >= lowest[:, None]
    depth = label_count(as_high if where is None else as_high & where, scores)
    return mean_of_examples(given, xp.where(label_any(relevant), depth, 0.0))
