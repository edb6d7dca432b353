"""Metrics of predicted label sets."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.namespace import Array, check_same_shape, device_of, namespace, shape_of
from mlc_losses._array.ranks import check_matrix, option
from mlc_losses.metrics._common import COUNTED_AXIS, averaged, count, mean, ratio


def hamming_loss(predictions: Array, targets: Array) -> Any:
    """The share of single decisions, one for each example and label, that are wrong.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

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
    xp, predicted, relevant = _sets(predictions, targets)
    return mean(xp, count(xp, predicted ^ relevant, -1)) / max(shape_of(predicted)[-1], 1)


def subset_accuracy(predictions: Array, targets: Array) -> Any:
    """The share of examples whose whole label set is right; scikit-learn's ``accuracy_score``.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.

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
    xp, predicted, relevant = _sets(predictions, targets)
    wrong = xp.any(predicted ^ relevant, axis=-1)
    return count(xp, ~wrong, None) / max(shape_of(wrong)[0], 1)


def f1_score(predictions: Array, targets: Array, *, average: str | None = "macro") -> Any:
    r"""Harmonic mean of precision and recall.

    .. math:: 2 \, |A \cap B| \, / \, (|A| + |B|)

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      average: ``"macro"``, the mean over labels; ``"samples"``, the mean over examples;
        ``"micro"``, over all decisions at once; None, one value for each label.

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
    axis = option("average", average, COUNTED_AXIS)
    xp, predicted, relevant = _sets(predictions, targets)
    both = count(xp, predicted & relevant, axis)
    sizes = count(xp, predicted, axis) + count(xp, relevant, axis)
    return averaged(xp, ratio(xp, 2.0 * both, sizes), average)


def jaccard_score(predictions: Array, targets: Array, *, average: str | None = "macro") -> Any:
    r"""Overlap of predicted and relevant over their union.

    .. math:: |A \cap B| \, / \, |A \cup B|

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.
      targets: ``[n, L]``, relevant where non-zero.
      average: ``"macro"``, the mean over labels; ``"samples"``, the mean over examples;
        ``"micro"``, over all decisions at once; None, one value for each label.

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
    axis = option("average", average, COUNTED_AXIS)
    xp, predicted, relevant = _sets(predictions, targets)
    both = count(xp, predicted & relevant, axis)
    return averaged(xp, ratio(xp, both, count(xp, predicted | relevant, axis)), average)


def mean_set_size(predictions: Array) -> Any:
    """How many labels are predicted on average, the k of average-k.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.

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
    xp = namespace(predictions=predictions)
    return mean(xp, count(xp, _predicted(xp, predictions), -1))


def set_size_histogram(predictions: Array) -> Any:
    """How many examples have a predicted set of each size.

    Args:
      predictions: bool or integer multi-hot ``[n, L]``.

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
    xp = namespace(predictions=predictions)
    predicted = _predicted(xp, predictions)
    sizes = xp.sort(xp.count_nonzero(predicted, axis=-1))
    possible = xp.arange(shape_of(predicted)[-1] + 1, dtype=sizes.dtype, device=device_of(sizes))
    up_to = xp.searchsorted(sizes, possible, side="right")
    return up_to - xp.searchsorted(sizes, possible, side="left")


def _sets(predictions: Any, targets: Any) -> tuple[Any, Any, Any]:
    """`(xp, predicted, relevant)`, both bool."""
    xp = namespace(predictions=predictions, targets=targets)
    check_same_shape("predictions", predictions, "targets", targets)
    return xp, _predicted(xp, predictions), xp.astype(targets, xp.bool)


def _predicted(xp: Any, predictions: Any) -> Any:
    if not xp.isdtype(predictions.dtype, ("bool", "integral")):
        raise TypeError(
            f"predictions must be bool or integer multi-hot, got dtype {predictions.dtype}; "
            "turn scores into label sets with predict_threshold or predict_top_k"
        )
    check_matrix("predictions", predictions)
    return xp.astype(predictions, xp.bool)
