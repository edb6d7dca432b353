"""Metrics of models that answer one label with several guesses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mlc_losses._array.arguments import (
    check_integer,
    check_matrix,
    check_numbers,
    check_same_shape,
    checked_where,
    positive_integer,
)
from mlc_losses._array.class_arguments import check_class_ids, class_arguments
from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import (
    Array,
    accept_numpy,
    as_compute_float,
    default_float,
    default_integer,
    namespace,
    shape_of,
)
from mlc_losses._array.scatter import group_sums
from mlc_losses._array.value_checks import checked_sample_weight
from mlc_losses.decide.sets import predict_average_k, predict_top_k
from mlc_losses.metrics._averages import mean


def top_k_accuracy(
    scores: Array,
    labels: Array,
    k: int,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of examples whose label is among the k classes of highest score.

    Args:
      scores: floating ``[n, C]``.
      labels: integer ``[n]``, the class of each example.
      k: a Python integer in 1..C. Of tied classes the lower ids are taken; scikit-learn takes the
        higher ones.
      where: bool ``[n, C]``, or ``[n, 1]`` for whole examples; False leaves a class out. An
        example whose own class is left out is left out of the mean, its label unchecked if all
        classes are.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]; 0 without examples, NaN with a NaN score.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes do not match, or ``k`` is out of range; in eager code, a label that is
        no class, or a weight that is negative or not finite. Under jit such a label gives NaN.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import top_k_accuracy
      >>> top_k_accuracy(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), np.array([1, 2]), 2)
      np.float64(0.5)
    """
    return _hit_rate(lambda known: predict_top_k(known, k), scores, labels, where, sample_weight)


def average_k_accuracy(
    scores: Array,
    labels: Array,
    threshold: float | Array,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The share of examples whose label scores at least the threshold, one threshold for all.

    Args:
      scores: floating ``[n, C]``.
      labels: integer ``[n]``, the class of each example.
      threshold: a number, chosen on validation data for a mean set size of k by
        ``average_k_threshold``.
      where: bool ``[n, C]``, or ``[n, 1]`` for whole examples; False leaves a class out. An
        example whose own class is left out is left out of the mean, its label unchecked if all
        classes are.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      a scalar in [0, 1]; 0 without examples, NaN with a NaN score. It means nothing without
      :func:`mean_set_size` of ``predict_average_k(scores, threshold)`` beside it, which is only
      near k on data that the threshold was not chosen on.

    Raises:
      TypeError: scores are not floating-point, or labels are not integers.
      ValueError: shapes do not match, or ``threshold`` is not one number; in eager code, a label
        that is not a class id, or a weight that is negative or not finite. Under jit such a label
        gives NaN.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import average_k_accuracy
      >>> average_k_accuracy(np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2]]), np.array([1, 0]), 0.3)
      np.float64(0.5)
    """
    return _hit_rate(
        lambda known: predict_average_k(known, threshold), scores, labels, where, sample_weight
    )


def class_mean(
    values: Array,
    labels: Array,
    num_classes: int,
    *,
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> Any:
    """The mean of the values of each class, such as accuracy by class.

    Args:
      values: ``[n]``, one for each example: losses, or whether it was a hit.
      labels: integer ``[n]``, the class of each example.
      num_classes: C, a Python integer.
      where: bool ``[n]``; False leaves an example out, its label unchecked.
      sample_weight: ``[n]``, at least 0: how much each example counts.

    Returns:
      floating ``[C]``, NaN for a class without examples, or with weights of 0 alone. A value
      touches its own class alone, even if it is NaN.

    Raises:
      TypeError: labels are not integers.
      ValueError: shapes differ or are not ``[n]``; in eager code, a label that is not a class id,
        or a weight that is negative or not finite. Under
        jit such an example is left out.

    Example:
      >>> import numpy as np
      >>> from mlc_losses.metrics import class_mean
      >>> class_mean(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 2]), 3)
      array([0.5, nan, 1. ])
    """
    xp = namespace(values=values, labels=labels, where=where)
    check_numbers(xp, "values", values)
    check_integer(xp, "labels", labels)
    check_same_shape("values", values, "labels", labels)
    if values.ndim != 1:
        raise ValueError(f"values must have shape [n], got {shape_of(values)}")
    num_classes = positive_integer("num_classes", num_classes)
    labels = xp.astype(accept_numpy(xp, labels), default_integer(xp))
    where = checked_where(xp, "values", values, where, -1)
    check_class_ids(labels if where is None else xp.where(where, labels, 0), num_classes)
    if where is not None:
        labels = xp.where(where, labels, -1)  # no group
    values = as_compute_float(xp, values)
    weight = checked_sample_weight(xp, sample_weight, values)
    weight = xp.ones_like(values) if weight is None else weight
    sums = group_sums(weight * values, labels, num_classes)
    counts = group_sums(weight, labels, num_classes)
    return xp.where(counts > 0, sums / xp.where(counts > 0, counts, 1.0), math.nan)


def _hit_rate(
    predict: Callable[[Any], Any], scores: Any, labels: Any, where: Any, sample_weight: Any
) -> Any:
    """How often the label is predicted; NaN for a NaN score or a label that is not a class id."""
    check_matrix("scores", scores)
    xp, known_scores, is_label, valid = class_arguments(scores, labels, where, logits_name="scores")
    hit = xp.astype(label_any(predict(known_scores) & is_label), default_float(xp))
    hit = xp.where(label_any(xp.isnan(known_scores)), math.nan, hit)
    known = None if where is None else label_any(is_label)
    if known is not None and valid is not None:
        known = known | xp.isnan(valid)
    return mean(xp, hit, known, checked_sample_weight(xp, sample_weight, hit))
