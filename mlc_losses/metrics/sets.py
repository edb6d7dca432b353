"""Metrics of predicted label sets."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.namespace import Array, default_float, device_of, shape_of
from mlc_losses._array.scatter import group_sums
from mlc_losses.metrics._averages import any_known, count, mean, ratio
from mlc_losses.metrics._sets import checked_predictions, checked_sets, spoiled


def hamming_loss(
    predictions: Array,
    targets: Array,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of single decisions, one for each example and label, that are wrong.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1], the lower the better; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import hamming_loss
      >>> hamming_loss(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 0, 0], [0, 0, 1]])).round(4)
      np.float64(0.3333)
    """
    given = checked_sets(predictions, targets, where, sample_weight)
    xp, weight = given.xp, given.sample_weight
    wrong = spoiled(given, count(xp, given.predicted ^ given.relevant, None, weight), None)
    known = xp.ones_like(given.predicted) if given.where is None else given.where
    return ratio(xp, wrong, count(xp, known, None, weight))


def subset_accuracy(
    predictions: Array,
    targets: Array,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of examples whose whole label set is right; scikit-learn's ``accuracy_score``.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]`` or, in eager code, a weight is negative or
        not finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import subset_accuracy
      >>> subset_accuracy(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 1, 0], [0, 0, 1]]))
      np.float64(0.5)
    """
    given = checked_sets(predictions, targets, where, sample_weight)
    xp = given.xp
    wrong = xp.any(given.predicted ^ given.relevant, axis=-1)
    right = spoiled(given, xp.astype(~wrong, default_float(xp)), -1)
    return mean(xp, right, any_known(given.where), given.sample_weight)


def mean_set_size(
    predictions: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """How many labels are predicted on average, the k of average-k.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: predictions are not ``[n, L]`` or, in eager code, a weight is negative or not
        finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import mean_set_size
      >>> mean_set_size(np.array([[1, 1, 0], [0, 0, 1]]))
      np.float64(1.5)
    """
    xp, predicted, where, weight = checked_predictions(predictions, where, sample_weight)
    return mean(xp, count(xp, predicted, -1), any_known(where), weight)


def set_size_histogram(
    predictions: Array, *, where: Array | None = None, sample_weight: Array | None = None
) -> Any:
    """How many examples have a predicted set of each size.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the counts.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      integer ``[L + 1]``, the counts of sizes 0 to L; they add to n. With weights their sums, as
      floats.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: predictions are not ``[n, L]`` or, in eager code, a weight is negative or not
        finite.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import set_size_histogram
      >>> set_size_histogram(np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]]))
      array([0, 2, 1, 0])
    """
    xp, predicted, where, weight = checked_predictions(predictions, where, sample_weight)
    possible = shape_of(predicted)[-1] + 1
    sizes = xp.count_nonzero(predicted, axis=-1)
    if where is not None:  # beyond all sizes
        sizes = xp.where(any_known(where), sizes, possible)
    if weight is not None:
        return group_sums(weight, sizes, possible)
    sizes = xp.sort(sizes)
    numbers = xp.arange(possible, dtype=sizes.dtype, device=device_of(sizes))
    up_to = xp.searchsorted(sizes, numbers, side="right")
    return up_to - xp.searchsorted(sizes, numbers, side="left")
