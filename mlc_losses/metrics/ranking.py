"""Metrics of scores: how the labels of an example are ranked. A NaN score gives NaN."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_option, positive_integer
from mlc_losses._array.labels import label_any, label_count, label_max, label_sum
from mlc_losses._array.namespace import Array, shape_of
from mlc_losses._array.ops import entries_at
from mlc_losses._array.ranks import Ranking, ranking
from mlc_losses.decide import predict_top_k
from mlc_losses.metrics._common import (
    COUNTED_AXIS,
    any_known,
    averaged,
    discounts_between,
    mean,
    ratio,
    scores_and_relevance,
)


def precision_at_k(scores: Array, targets: Array, k: int, *, where: Array | None = None) -> Any:
    """The share of the k labels of highest score that are relevant, averaged over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L. Always divides by k, even where fewer labels are relevant. Of
        tied labels the lower ids are taken.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, hits, _, known = _hits(scores, targets, k, where)
    return mean(xp, hits / k, known)


def recall_at_k(scores: Array, targets: Array, k: int, *, where: Array | None = None) -> Any:
    """The share of the relevant labels that are among the k of highest score, over examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L. Of tied labels the lower ids are taken.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, hits, positives, known = _hits(scores, targets, k, where)
    return mean(xp, ratio(xp, hits, positives), known)


def one_error(scores: Array, targets: Array, *, where: Array | None = None) -> Any:
    """The share of examples whose label of highest score is not relevant.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, hits, _, known = _hits(scores, targets, 1, where)
    return mean(xp, 1.0 - hits, known)


def ndcg_at_k(scores: Array, targets: Array, k: int, *, where: Array | None = None) -> Any:
    r"""Discounted gain of the k labels of highest score, over the best that k labels could have.

    .. math:: \sum_{i \le k} \frac{y_{(i)}}{\log_2(1 + i)} \Big/
              \sum_{i \le \min(k, |P|)} \frac{1}{\log_2(1 + i)}

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      k: a Python integer in 1..L; L ranks all labels.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    k = positive_integer("k", k, shape_of(scores)[-1])
    ranks = ranking(scores)
    at_least = _known_at_least(xp, ranks, where)
    discounts = discounts_between(xp, ranks.above, at_least, k, scores)
    tied = xp.astype(at_least - ranks.above, scores.dtype)
    found = entries_at(relevant, ranks.order)
    gain = label_sum(discounts / xp.where(found, tied, 1.0), found)
    positives = xp.count_nonzero(relevant, axis=-1)
    best = discounts_between(xp, 0 * positives, positives, k, scores)
    return mean(xp, _nan_like(xp, scores, ratio(xp, gain, best)), any_known(where))


def average_precision(
    scores: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
) -> Any:
    """Precision at each relevant item, averaged over the relevant items: the area under the curve.

    The "mAP" of the literature is ``average="macro"``: each label ranks the examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"samples"``, each example ranks the labels;
        ``"micro"``, all pairs are ranked together; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    axis = checked_option("average", average, COUNTED_AXIS)
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    cells = [scores, relevant] if where is None else [scores, relevant, where]
    if axis is None:
        cells = [xp.reshape(x, (1, -1)) for x in cells]
    elif axis == 0:
        cells = [xp.matrix_transpose(x) for x in cells]
    known = None if where is None else any_known(cells[2])
    return averaged(xp, _average_precision(xp, *cells), average, known)


def label_ranking_average_precision(
    scores: Array, targets: Array, *, where: Array | None = None
) -> Any:
    """For each relevant label, the share of relevant ones among those ranked as high; the mean.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    # everything relevant is 1 by itself
    precision = xp.where(label_any(relevant), _average_precision(xp, scores, relevant, where), 1.0)
    return mean(xp, _nan_like(xp, scores, precision), any_known(where))


def ranking_loss(scores: Array, targets: Array, *, where: Array | None = None) -> Any:
    """The share of pairs of a relevant and another label that are in the wrong order or tied.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    at, at_least, found = _ranked(xp, scores, relevant, where)
    wrong = xp.astype(at_least - found, scores.dtype)
    positives = label_count(relevant, scores)
    negatives = label_count(~relevant if where is None else where & ~relevant, scores)
    # dividing twice: the number of pairs itself need not fit
    shares = ratio(xp, ratio(xp, label_sum(wrong, at), positives), negatives)
    return mean(xp, _nan_like(xp, scores, shares), any_known(where))


def coverage_error(scores: Array, targets: Array, *, where: Array | None = None) -> Any:
    """How far down the ranking one must go, on average, to meet every relevant label.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

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
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    depth = xp.where(label_any(relevant), _depth(scores, relevant, where), 0.0)
    return mean(xp, _nan_like(xp, scores, depth), any_known(where))


def _depth(scores: Any, relevant: Any, where: Any) -> Any:
    """How many labels score at least as high as the lowest relevant one."""
    lowest = -label_max(-scores, relevant)
    as_high = scores >= lowest[:, None]
    return label_count(as_high if where is None else as_high & where, scores)


def _hits(scores: Any, targets: Any, k: int, where: Any) -> tuple[Any, Any, Any, Any]:
    """`xp`, of each example how many of the first k labels, and of all, are relevant; the known."""
    xp, scores, relevant, where = scores_and_relevance(scores, targets, where)
    hits = label_count(predict_top_k(scores, k) & relevant, scores)
    return xp, _nan_like(xp, scores, hits), label_count(relevant, scores), any_known(where)


def _ranked(xp: Any, scores: Any, relevant: Any, where: Any) -> tuple[Any, Any, Any]:
    """From the highest score down: relevance, how many labels are at least as high, how many of
    those are relevant.
    """
    ranks = ranking(scores)
    relevant = entries_at(relevant, ranks.order)
    running = xp.cumulative_sum(xp.astype(relevant, ranks.order.dtype), axis=-1)
    found = entries_at(running, ranks.at_least - 1)
    return relevant, _known_at_least(xp, ranks, where), found


def _known_at_least(xp: Any, ranks: Ranking, where: Any) -> Any:
    """How many known labels are at least as high; those not known are last, at -inf."""
    if where is None:
        return ranks.at_least
    known = xp.astype(xp.count_nonzero(where, axis=-1), ranks.at_least.dtype)
    return xp.minimum(ranks.at_least, known[..., None])


def _average_precision(xp: Any, scores: Any, relevant: Any, where: Any = None) -> Any:
    """Of each row `[R, n]`; 0 where nothing is relevant."""
    at, at_least, found = _ranked(xp, scores, relevant, where)
    precision = xp.astype(found, scores.dtype) / xp.astype(xp.where(at, at_least, 1), scores.dtype)
    shares = ratio(xp, label_sum(precision, at), label_count(relevant, scores))
    return _nan_like(xp, scores, shares)


def _nan_like(xp: Any, scores: Any, values: Any) -> Any:
    """NaN for a row with a NaN score: its ranks mean nothing."""
    return xp.where(label_any(xp.isnan(scores)), math.nan, values)
