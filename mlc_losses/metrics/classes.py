"""Metrics of models that answer one label with several guesses."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.labels import label_any, label_numbers
from mlc_losses._array.namespace import (
    Array,
    can_look,
    check_integer,
    check_same_shape,
    computed,
    default_float,
    namespace,
    positive_integer,
    shape_of,
)
from mlc_losses._array.ranks import check_matrix, group_sums
from mlc_losses.decide import predict_average_k, predict_top_k
from mlc_losses.metrics._common import mean


def top_k_accuracy(scores: Array, labels: Array, k: int) -> Any:
    """The share of examples whose label is among the k classes of highest score.

    Args:
      scores: floating ``[n, C]``.
      labels: integer ``[n]``, the class of each example.
      k: a Python integer in 1..C. Of tied classes the lower ids are taken; scikit-learn takes the
        higher ones.

    Returns:
      a scalar in [0, 1]; 0 without examples, NaN with a NaN score.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes do not match, or ``k`` is out of range; in eager code, a label that is
        no class. Under jit such a label gives NaN.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import top_k_accuracy
      >>> top_k_accuracy(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), np.array([1, 2]), 2)
      np.float64(0.5)
    """
    return _hit_rate(predict_top_k(scores, k), scores, labels)


def average_k_accuracy(scores: Array, labels: Array, threshold: float | Array) -> Any:
    """The share of examples whose label scores at least the threshold, one threshold for all.

    Args:
      scores: floating ``[n, C]``.
      labels: integer ``[n]``, the class of each example.
      threshold: a number, chosen on validation data for a mean set size of k by
        ``average_k_threshold``.

    Returns:
      a scalar in [0, 1]; 0 without examples, NaN with a NaN score. It means nothing without
      :func:`mean_set_size` of ``predict_average_k(scores, threshold)`` beside it, which is only
      near k on data that the threshold was not chosen on.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes do not match, or ``threshold`` is not one number; in eager code, a label
        that is no class. Under jit such a label gives NaN.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import average_k_accuracy
      >>> average_k_accuracy(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), np.array([1, 0]), 0.3)
      np.float64(0.5)
    """
    return _hit_rate(predict_average_k(scores, threshold), scores, labels)


def class_mean(values: Array, labels: Array, num_classes: int) -> Any:
    """The mean of the values of each class, such as accuracy by class.

    Args:
      values: ``[n]``, one for each example: losses, or whether it was a hit.
      labels: integer ``[n]``, the class of each example.
      num_classes: C, a Python integer.

    Returns:
      floating ``[C]``, NaN for a class without examples. A value touches its own class alone,
      even if it is NaN.

    Raises:
      TypeError: labels are not integers.
      ValueError: shapes differ or are not ``[n]``; in eager code, a label that is no class. Under
        jit such an example is left out.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import class_mean
      >>> class_mean(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 2]), 3)
      array([0.5, nan, 1. ])
    """
    xp = namespace(values=values, labels=labels)
    check_same_shape("values", values, "labels", labels)
    if values.ndim != 1:
        raise ValueError(f"values must have shape [n], got {shape_of(values)}")
    num_classes = positive_integer("num_classes", num_classes)
    labels = _checked_labels(xp, labels, num_classes)
    values = computed(xp, values)
    sums = group_sums(values, labels, num_classes)
    counts = group_sums(xp.ones_like(values), labels, num_classes)
    return xp.where(counts > 0, sums / xp.where(counts > 0, counts, 1.0), math.nan)


def _hit_rate(predicted: Any, scores: Any, labels: Any) -> Any:
    """How often the label is predicted; NaN for a NaN score or a label that is no class."""
    xp = namespace(scores=scores, labels=labels)
    check_matrix("scores", scores)
    if shape_of(labels) != shape_of(scores)[:1]:
        raise ValueError(
            "labels must have one entry per row of scores, "
            f"got shapes {shape_of(labels)} and {shape_of(scores)}"
        )
    labels = _checked_labels(xp, labels, shape_of(scores)[1])
    is_label = labels[:, None] == label_numbers(scores)
    hit = xp.astype(label_any(predicted & is_label), default_float(xp))
    known = label_any(is_label) & ~label_any(xp.isnan(scores))
    return mean(xp, xp.where(known, hit, math.nan))


def _checked_labels(xp: Any, labels: Any, num_classes: int) -> Any:
    """Labels in the default integer dtype, as a narrow one need not hold `num_classes`."""
    check_integer(xp, "labels", labels)
    labels = xp.astype(labels, xp.__array_namespace_info__().default_dtypes()["integral"])
    if can_look(labels):
        known = (labels >= 0) & (labels < num_classes)
        if not bool(xp.all(known)):
            first = int(xp.argmin(xp.astype(known, xp.int8)))
            raise ValueError(
                f"labels must be in 0..{num_classes - 1}, got {int(labels[first])} at index {first}"
            )
    return labels
