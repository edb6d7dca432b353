"""Metrics of predicted label sets."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_array,
    check_matrix,
    check_multi_hot,
    check_same_shape,
    checked_option,
    checked_where,
)
from mlc_losses._array.namespace import (
    Array,
    accept_numpy,
    default_float,
    device_of,
    namespace,
    shape_of,
)
from mlc_losses._array.ops import relevant_and_missing
from mlc_losses.metrics._common import COUNTED_AXIS, any_known, averaged, count, mean, ratio


def hamming_loss(predictions: Array, targets: Array, *, where: Array | None = None) -> Any:
    """The share of single decisions, one for each example and label, that are wrong.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

    Returns:
      a scalar in [0, 1], the lower the better; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import hamming_loss
      >>> hamming_loss(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 0, 0], [0, 0, 1]])).round(4)
      np.float64(0.3333)
    """
    xp, predicted, relevant, where, missing = _sets(predictions, targets, where)
    wrong = _spoiled(xp, count(xp, predicted ^ relevant, None), missing, None)
    cells = math.prod(shape_of(predicted))
    return wrong / max(cells, 1) if where is None else ratio(xp, wrong, count(xp, where, None))


def subset_accuracy(predictions: Array, targets: Array, *, where: Array | None = None) -> Any:
    """The share of examples whose whole label set is right; scikit-learn's ``accuracy_score``.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

    Returns:
      a scalar in [0, 1]; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import subset_accuracy
      >>> subset_accuracy(np.array([[1, 1, 0], [0, 0, 0]]), np.array([[1, 1, 0], [0, 0, 1]]))
      np.float64(0.5)
    """
    xp, predicted, relevant, where, missing = _sets(predictions, targets, where)
    right = xp.astype(~xp.any(predicted ^ relevant, axis=-1), default_float(xp))
    return mean(xp, _spoiled(xp, right, missing, -1), any_known(where))


def f1_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
) -> Any:
    r"""Harmonic mean of precision and recall.

    .. math:: 2 \, |A \cap B| \, / \, (|A| + |B|)

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"samples"``, the mean over examples;
        ``"micro"``, over all decisions at once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.

    Returns:
      a scalar, or ``[L]`` for None. A label (or example) that is neither relevant nor predicted
      anywhere is 0/0 and counts as 0, as with scikit-learn's ``zero_division=0``.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, or ``average`` is unknown.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import f1_score
      >>> predictions, targets = np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]])
      >>> f1_score(predictions, targets, average=None).round(4)
      array([0.6667, 0.6667])
      >>> f1_score(predictions, targets, average="samples")
      np.float64(0.5)
    """
    axis = checked_option("average", average, COUNTED_AXIS)
    xp, predicted, relevant, where, missing = _sets(predictions, targets, where)
    both = count(xp, predicted & relevant, axis)
    sizes = count(xp, predicted, axis) + count(xp, relevant, axis)
    scores = _spoiled(xp, ratio(xp, 2.0 * both, sizes), missing, axis)
    return averaged(xp, scores, average, any_known(where, axis))


def jaccard_score(
    predictions: Array,
    targets: Array,
    *,
    average: str | None = "macro",
    where: Array | None = None,
) -> Any:
    r"""Overlap of predicted and relevant over their union.

    .. math:: |A \cap B| \, / \, |A \cup B|

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2; NaN gives NaN.
      average: ``"macro"``, the mean over labels; ``"samples"``, the mean over examples;
        ``"micro"``, over all decisions at once; None, one value for each label.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example, or label, without a known cell is left out of the mean.

    Returns:
      a scalar, or ``[L]`` for None; 0/0 is 0, as in :func:`f1_score`.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: shapes differ or are not ``[n, L]``, or ``average`` is unknown.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import jaccard_score
      >>> jaccard_score(np.array([[1, 1], [0, 1]]), np.array([[1, 1], [1, 0]]), average="samples")
      np.float64(0.5)
    """
    axis = checked_option("average", average, COUNTED_AXIS)
    xp, predicted, relevant, where, missing = _sets(predictions, targets, where)
    both = count(xp, predicted & relevant, axis)
    scores = ratio(xp, both, count(xp, predicted | relevant, axis))
    return averaged(xp, _spoiled(xp, scores, missing, axis), average, any_known(where, axis))


def mean_set_size(predictions: Array, *, where: Array | None = None) -> Any:
    """How many labels are predicted on average, the k of average-k.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the mean.

    Returns:
      a scalar; 0 without examples.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: predictions are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import mean_set_size
      >>> mean_set_size(np.array([[1, 1, 0], [0, 0, 1]]))
      np.float64(1.5)
    """
    xp, predicted, where = _predicted(predictions, where)
    return mean(xp, count(xp, predicted, -1), any_known(where))


def set_size_histogram(predictions: Array, *, where: Array | None = None) -> Any:
    """How many examples have a predicted set of each size.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a label out. An
        example without a known label is left out of the counts.

    Returns:
      integer ``[L + 1]``, the counts of sizes 0 to L; they add to n.

    Raises:
      TypeError: predictions are floating-point: apply :func:`predict_threshold` first.
      ValueError: predictions are not ``[n, L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import set_size_histogram
      >>> set_size_histogram(np.array([[1, 1, 0], [0, 0, 1], [0, 1, 0]]))
      array([0, 2, 1, 0])
    """
    xp, predicted, where = _predicted(predictions, where)
    sizes = xp.count_nonzero(predicted, axis=-1)
    if where is not None:  # beyond all sizes
        sizes = xp.where(any_known(where), sizes, shape_of(predicted)[-1] + 1)
    sizes = xp.sort(sizes)
    possible = xp.arange(shape_of(predicted)[-1] + 1, dtype=sizes.dtype, device=device_of(sizes))
    up_to = xp.searchsorted(sizes, possible, side="right")
    return up_to - xp.searchsorted(sizes, possible, side="left")


def _sets(predictions: Any, targets: Any, where: Any) -> tuple[Any, Any, Any, Any, Any]:
    """`(xp, predicted, relevant, where, missing)`, all bool; what is not known is in no set.

    `missing` is where a known target is NaN; None where there cannot be one.
    """
    namespace(predictions=predictions, targets=targets, where=where)
    xp, predicted, where = _predicted(predictions, where)
    check_multi_hot(xp, "targets", targets)
    check_same_shape("predictions", predictions, "targets", targets)
    relevant, missing = relevant_and_missing(xp, accept_numpy(xp, targets))
    if where is not None:
        relevant = relevant & where
        missing = None if missing is None else missing & where
    return xp, predicted, relevant, where, missing


def _predicted(predictions: Any, where: Any) -> tuple[Any, Any, Any]:
    """`(xp, predicted, where)`."""
    xp = namespace(predictions=predictions, where=where)
    check_array("predictions", predictions)
    if not xp.isdtype(predictions.dtype, ("bool", "integral")):
        raise TypeError(
            f"predictions must be bool or integer multi-hot, got dtype {predictions.dtype}; "
            "turn scores into label sets with predict_threshold or predict_top_k"
        )
    check_matrix("predictions", predictions)
    predicted = predictions > 0 if xp.isdtype(predictions.dtype, "integral") else predictions
    where = checked_where(xp, "predictions", predictions, where, -1)
    return xp, predicted if where is None else predicted & where, where


def _spoiled(xp: Any, values: Any, missing: Any, axis: int | None) -> Any:
    """NaN for what a NaN target is counted in."""
    return values if missing is None else xp.where(xp.any(missing, axis=axis), math.nan, values)
