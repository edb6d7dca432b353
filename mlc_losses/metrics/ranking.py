"""Metrics of scores: how the labels of an example are ranked. A NaN score gives NaN."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.labels import label_any, label_count, label_max, label_sum
from mlc_losses._array.namespace import Array, positive_integer, shape_of
from mlc_losses._array.ops import entries_at
from mlc_losses._array.ranks import Ranking, option, ranking
from mlc_losses.decide import predict_top_k
from mlc_losses.metrics._common import (
    COUNTED_AXIS,
    averaged,
    discounts_between,
    mean,
    ratio,
    scores_and_relevance,
)


def precision_at_k(scores: Array, targets: Array, k: int) -> Any:
    """The share of the k labels of highest score that are relevant, averaged over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      k: a Python integer in 1..L. Always divides by k, even where fewer labels are relevant. Of
        tied labels the lower ids are taken.

    Returns:
      a scalar in [0, 1]; 0 without examples.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``k`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import precision_at_k
      >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
      >>> precision_at_k(scores, np.array([[1, 0, 1], [0, 1, 1]]), 2)
      np.float64(0.75)
    """
    xp, hits, _ = _hits(scores, targets, k)
    return mean(xp, hits / k)


def recall_at_k(scores: Array, targets: Array, k: int) -> Any:
    """The share of the relevant labels that are among the k of highest score, over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      k: a Python integer in 1..L. Of tied labels the lower ids are taken.

    Returns:
      a scalar in [0, 1]. An example without relevant labels is 0/0 and counts as 0.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``k`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import recall_at_k
      >>> scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.3, 0.4]])
      >>> recall_at_k(scores, np.array([[1, 0, 1], [0, 1, 1]]), 2)
      np.float64(0.75)
    """
    xp, hits, positives = _hits(scores, targets, k)
    return mean(xp, ratio(xp, hits, positives))


def one_error(scores: Array, targets: Array) -> Any:
    """The share of examples whose label of highest score is not relevant.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

    Returns:
      a scalar in [0, 1], the lower the better. An example without relevant labels is an error:
      whatever is ranked first is wrong. Of labels tied for the first place the lowest id counts.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import one_error
      >>> one_error(np.array([[0.9, 0.5], [0.2, 0.3]]), np.array([[1, 0], [1, 0]]))
      np.float64(0.5)
    """
    xp, hits, _ = _hits(scores, targets, 1)
    return mean(xp, 1.0 - hits)


def ndcg_at_k(scores: Array, targets: Array, k: int) -> Any:
    r"""Discounted gain of the k labels of highest score, over the best that k labels could have.

    .. math:: \sum_{i \le k} \frac{y_{(i)}}{\log_2(1 + i)} \Big/
              \sum_{i \le \min(k, |P|)} \frac{1}{\log_2(1 + i)}

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      k: a Python integer in 1..L; L ranks all labels.

    Returns:
      a scalar in [0, 1]. Tied labels share the mean discount of their places, as in scikit-learn;
      an example without relevant labels counts as 0.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``k`` is out of range.

    References:
      McSherry, Najork, `Computing Information Retrieval Performance Measures Efficiently in the
      Presence of Tied Scores <https://doi.org/10.1007/978-3-540-78646-7_38>`_, 2008.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import ndcg_at_k
      >>> ndcg_at_k(np.array([[0.9, 0.5, 0.1]]), np.array([[0, 1, 1]]), 2).round(4)
      np.float64(0.3869)
    """
    xp, scores, relevant = scores_and_relevance(scores, targets)
    k = positive_integer("k", k, shape_of(scores)[-1])
    ranks = ranking(scores)
    discounts = discounts_between(xp, ranks.above, ranks.at_least, k, scores)
    tied = xp.astype(ranks.at_least - ranks.above, scores.dtype)
    found = entries_at(relevant, ranks.order)
    gain = label_sum(discounts / tied, found)
    positives = xp.count_nonzero(relevant, axis=-1)
    best = discounts_between(xp, 0 * positives, positives, k, scores)
    return mean(xp, _nan_like(xp, scores, ratio(xp, gain, best)))


def average_precision(scores: Array, targets: Array, *, average: str | None = "macro") -> Any:
    """Precision at each relevant item, averaged over the relevant items: the area under the curve.

    The "mAP" of the literature is ``average="macro"``: each label ranks the examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      average: ``"macro"``, the mean over labels; ``"samples"``, each example ranks the labels;
        ``"micro"``, all pairs are ranked together; None, one value for each label.

    Returns:
      a scalar, or ``[L]`` for None. Tied scores are taken at once, as in scikit-learn; a label
      (or example) without anything relevant has 0, and counts in the mean.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``average`` is unknown.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import average_precision
      >>> scores = np.array([[0.9, 0.5], [0.2, 0.3], [0.4, 0.1]])
      >>> average_precision(scores, np.array([[1, 0], [1, 1], [0, 0]]), average=None).round(4)
      array([0.8333, 0.5   ])
    """
    axis = option("average", average, COUNTED_AXIS)
    xp, scores, relevant = scores_and_relevance(scores, targets)
    if axis is None:
        scores, relevant = (xp.reshape(x, (1, -1)) for x in (scores, relevant))
    elif axis == 0:
        scores, relevant = (xp.matrix_transpose(x) for x in (scores, relevant))
    return averaged(xp, _average_precision(xp, scores, relevant), average)


def label_ranking_average_precision(scores: Array, targets: Array) -> Any:
    """For each relevant label, the share of relevant ones among those ranked as high; the mean.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

    Returns:
      a scalar in (0, 1]; 0 without examples. An example with no relevant label, or with nothing
      else, cannot be ranked wrongly and counts as 1, as in scikit-learn.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import label_ranking_average_precision
      >>> scores = np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]])
      >>> label_ranking_average_precision(scores, np.array([[1, 0, 0], [0, 0, 1]])).round(4)
      np.float64(0.4167)
    """
    xp, scores, relevant = scores_and_relevance(scores, targets)
    # everything relevant is 1 by itself
    precision = xp.where(label_any(relevant), _average_precision(xp, scores, relevant), 1.0)
    return mean(xp, _nan_like(xp, scores, precision))


def ranking_loss(scores: Array, targets: Array) -> Any:
    """The share of pairs of a relevant and another label that are in the wrong order or tied.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

    Returns:
      a scalar in [0, 1], the lower the better. An example without such a pair counts as 0, as in
      scikit-learn's ``label_ranking_loss``.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import ranking_loss
      >>> ranking_loss(np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), np.eye(3)[[0, 2]])
      np.float64(0.75)
    """
    xp, scores, relevant = scores_and_relevance(scores, targets)
    at, ranks, found = _ranked(xp, scores, relevant)
    wrong = xp.astype(ranks.at_least - found, scores.dtype)
    positives = label_count(relevant, scores)
    negatives = label_count(~relevant, scores)
    # dividing twice: the number of pairs itself need not fit
    shares = ratio(xp, ratio(xp, label_sum(wrong, at), positives), negatives)
    return mean(xp, _nan_like(xp, scores, shares))


def coverage_error(scores: Array, targets: Array) -> Any:
    """How far down the ranking one must go, on average, to meet every relevant label.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

    Returns:
      a scalar in [0, L], the lower the better. Counted from 1, ties included; an example without
      relevant labels counts as 0, as in scikit-learn. (Tsoumakas et al. count from 0.)

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import coverage_error
      >>> coverage_error(np.array([[0.75, 0.5, 1.0], [1.0, 0.2, 0.1]]), np.eye(3)[[0, 2]])
      np.float64(2.5)
    """
    xp, scores, relevant = scores_and_relevance(scores, targets)
    depth = xp.where(label_any(relevant), _depth(scores, relevant), 0.0)
    return mean(xp, _nan_like(xp, scores, depth))


def _depth(scores: Any, relevant: Any) -> Any:
    """How many labels score at least as high as the lowest relevant one."""
    lowest = -label_max(-scores, relevant)
    return label_count(scores >= lowest[:, None], scores)


def _hits(scores: Any, targets: Any, k: int) -> tuple[Any, Any, Any]:
    """`xp`, and of each example how many of the first k labels, and of all, are relevant."""
    xp, scores, relevant = scores_and_relevance(scores, targets)
    hits = label_count(predict_top_k(scores, k) & relevant, scores)
    return xp, _nan_like(xp, scores, hits), label_count(relevant, scores)


def _ranked(xp: Any, scores: Any, relevant: Any) -> tuple[Any, Ranking, Any]:
    """From the highest score down: relevance, ranks, and how many relevant are at least as high."""
    ranks = ranking(scores)
    relevant = entries_at(relevant, ranks.order)
    running = xp.cumulative_sum(xp.astype(relevant, ranks.order.dtype), axis=-1)
    return relevant, ranks, entries_at(running, ranks.at_least - 1)


def _average_precision(xp: Any, scores: Any, relevant: Any) -> Any:
    """Of each row `[R, n]`; 0 where nothing is relevant."""
    at, ranks, found = _ranked(xp, scores, relevant)
    precision = xp.astype(found, scores.dtype) / xp.astype(ranks.at_least, scores.dtype)
    shares = ratio(xp, label_sum(precision, at), label_count(relevant, scores))
    return _nan_like(xp, scores, shares)


def _nan_like(xp: Any, scores: Any, values: Any) -> Any:
    """NaN for a row with a NaN score: its ranks mean nothing."""
    return xp.where(label_any(xp.isnan(scores)), math.nan, values)
