"""Areas under curves: labels rank the examples, or examples the labels. A NaN score gives NaN."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_option
from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import Array, as_dtype
from mlc_losses.metrics._averages import COUNTED_AXIS, ratio
from mlc_losses.metrics._ranks import (
    Rows,
    amounts,
    average_precisions,
    checked_scores,
    mean_of_rows,
    nan_like,
    ranking,
    rows_of,
    up_to,
)


def average_precision(
    scores: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """Precision at each relevant item, averaged over the relevant items: the area under the curve.

    The "mAP" of the literature is ``average="macro"``: each label ranks the examples.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, each example ranks the labels; ``"micro"``, all pairs are ranked
        together; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar, or ``[L]`` for None. Tied scores are taken at once, as in scikit-learn; a label
      (or example) without anything relevant has 0, and counts in the mean.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import average_precision
      >>> scores = np.array([[0.9, 0.5], [0.2, 0.3], [0.4, 0.1]])
      >>> average_precision(scores, np.array([[1, 0], [1, 1], [0, 0]]), average=None).round(4)
      array([0.8333, 0.5   ])
    """
    checked_option("average", average, COUNTED_AXIS)
    given = checked_scores(scores, targets, where, sample_weight)
    rows = rows_of(given, average)
    return mean_of_rows(given, average, rows, average_precisions(given.xp, rows))


def roc_auc(
    scores: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""The chance that what is relevant scores higher than what is not: the area under the ROC.

    .. math:: \frac{1}{|P| \, |N|} \sum_{p \in P} \sum_{n \in N}
              \bigl([s_p > s_n] + \tfrac12 [s_p = s_n]\bigr)

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, each example ranks the labels; ``"micro"``, all pairs are ranked
        together; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a cell out.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1], or ``[L]`` for None: scikit-learn's ``roc_auc_score``. A label (or
      example) of one class alone has no area: it is NaN for None, and left out of the means, which
      scikit-learn makes NaN. NaN where nothing is left.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    References:
      Hanley, McNeil, `The meaning and use of the area under a receiver operating characteristic
      (ROC) curve <https://doi.org/10.1148/radiology.143.1.7063747>`_, 1982.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import roc_auc
      >>> scores = np.array([[0.9, 0.5], [0.2, 0.3], [0.4, 0.1]])
      >>> roc_auc(scores, np.array([[1, 0], [1, 1], [0, 0]]), average=None)
      array([0.5, 0.5])
    """
    checked_option("average", average, COUNTED_AXIS)
    given = checked_scores(scores, targets, where, sample_weight)
    xp, rows = given.xp, rows_of(given, average)
    area, defined = _areas(xp, rows)
    found = mean_of_rows(given, average, rows, area, defined)
    return found if average is None else xp.where(xp.any(defined), found, math.nan)


def _areas(xp: Any, rows: Rows) -> tuple[Any, Any]:
    """Of each row, NaN for one class alone; and which rows have a value, be it NaN for a NaN."""
    dtype = rows.scores.dtype
    ranks = ranking(rows.scores)
    negative = ~rows.relevant if rows.where is None else rows.where & ~rows.relevant
    hits, misses = (amounts(xp, mask, ranks, rows.weight) for mask in (rows.relevant, negative))
    all_hits, all_misses = (xp.sum(x, axis=-1, dtype=x.dtype) for x in (hits, misses))
    both = (all_hits > 0) & (all_misses > 0)
    # twice what scores lower, and once what is tied
    beaten = 2 * all_misses[:, None] - up_to(xp, misses, ranks.above)
    beaten = as_dtype(xp, beaten - up_to(xp, misses, ranks.at_least), dtype)
    hits, all_hits, all_misses = (as_dtype(xp, x, dtype) for x in (hits, all_hits, all_misses))
    won = xp.sum(hits * ratio(xp, 0.5 * beaten, all_misses[:, None]), axis=-1)
    area = xp.where(both, ratio(xp, won, all_hits), math.nan)
    return nan_like(xp, rows.scores, area), both | label_any(xp.isnan(rows.scores))
