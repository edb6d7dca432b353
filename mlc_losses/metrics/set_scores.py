"""Scores of predicted label sets: ratios of how much is predicted, is relevant, and is both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlc_losses._array.arguments import checked_option
from mlc_losses._array.namespace import Array
from mlc_losses.metrics._averages import COUNTED_AXIS, any_known, averaged, count, inside, ratio
from mlc_losses.metrics._sets import checked_sets, spoiled


def f1_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""Harmonic mean of precision and recall.

    .. math:: 2 \, |A \cap B| \, / \, (|A| + |B|)

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, the mean over examples; ``"micro"``, over all decisions at
        once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar, or ``[L]`` for None. A label (or example) that is neither relevant nor predicted
      anywhere is 0/0 and counts as 0, as with scikit-learn's ``zero_division=0``.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import f1_score
      >>> predictions, targets = np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]])
      >>> f1_score(predictions, targets, average=None).round(4)
      array([0.6667, 0.6667])
      >>> f1_score(predictions, targets, average="samples")
      np.float64(0.5)
    """

    def of_counts(xp: Any, hits: Any, predicted: Any, relevant: Any) -> Any:
        return ratio(xp, 2.0 * hits, predicted + relevant)

    return _of_counts(of_counts, predictions, targets, average, where, sample_weight)


def jaccard_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""Overlap of predicted and relevant over their union.

    .. math:: |A \cap B| \, / \, |A \cup B|

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, the mean over examples; ``"micro"``, over all decisions at
        once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar, or ``[L]`` for None; 0/0 is 0, as in :func:`f1_score`.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import jaccard_score
      >>> predictions, targets = np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]])
      >>> jaccard_score(predictions, targets, average="samples")
      np.float64(0.5)
    """

    def of_counts(xp: Any, hits: Any, predicted: Any, relevant: Any) -> Any:
        return ratio(xp, hits, predicted + relevant - hits)

    return _of_counts(of_counts, predictions, targets, average, where, sample_weight)


def precision_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""The share of what is predicted that is relevant.

    .. math:: |A \cap B| \, / \, |A|, \qquad A \text{ predicted}, \; B \text{ relevant}

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, the mean over examples; ``"micro"``, over all decisions at
        once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar, or ``[L]`` for None; 0/0 is 0, as in :func:`f1_score`.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import precision_score
      >>> predictions, targets = np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]])
      >>> precision_score(predictions, targets, average=None)
      array([1. , 0.5])
    """

    def of_counts(xp: Any, hits: Any, predicted: Any, relevant: Any) -> Any:
        return ratio(xp, hits, predicted)

    return _of_counts(of_counts, predictions, targets, average, where, sample_weight)


def recall_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    r"""The share of what is relevant that is predicted.

    .. math:: |A \cap B| \, / \, |B|, \qquad A \text{ predicted}, \; B \text{ relevant}

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"weighted"``, that mean by how often each label
        is relevant; ``"samples"``, the mean over examples; ``"micro"``, over all decisions at
        once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar, or ``[L]`` for None; 0/0 is 0, as in :func:`f1_score`.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, ``average`` is unknown or, in eager code, a
        weight is negative or not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import recall_score
      >>> predictions, targets = np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]])
      >>> recall_score(predictions, targets, average=None)
      array([0.5, 1. ])
    """

    def of_counts(xp: Any, hits: Any, predicted: Any, relevant: Any) -> Any:
        return ratio(xp, hits, relevant)

    return _of_counts(of_counts, predictions, targets, average, where, sample_weight)


def _of_counts(
    of_counts: Callable[..., Any],
    predictions: Any,
    targets: Any,
    average: Any,
    where: Any,
    sample_weight: Any,
) -> Any:
    """The average of a score of three counts: of hits, of what is predicted and is relevant."""
    axis = checked_option("average", average, COUNTED_AXIS)
    given = checked_sets(predictions, targets, where, sample_weight)
    xp, weight = given.xp, inside(average, given.sample_weight)
    masks = (given.predicted & given.relevant, given.predicted, given.relevant)
    counts = [count(xp, mask, axis, weight) for mask in masks]
    values = spoiled(given, of_counts(xp, *counts), axis)
    known = any_known(given.where, axis)
    return averaged(xp, values, average, known, given.sample_weight, counts[-1])
