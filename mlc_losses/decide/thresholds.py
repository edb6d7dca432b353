"""Thresholds that are best on validation data."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_matrix, checked_labels, checked_option
from mlc_losses._array.labels import columns, label_any
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    default_float,
    device_of,
    shape_of,
)
from mlc_losses._array.ops import entries_at, relevant_and_missing
from mlc_losses._array.value_checks import checked_sample_weight


def tune_thresholds(
    scores: ArrayT,
    targets: Array,
    *,
    metric: str = "f1",
    average: str = "macro",
    where: Array | None = None,
    sample_weight: Array | None = None,
) -> ArrayT:
    """The thresholds for `predict_threshold` that give the best value of a metric on these data.

    Exact: every way to cut the sorted scores is tried, in O(n log n) per label. Thresholds lie
    halfway between two neighbouring scores. They fit the data they are tuned on, so tune on
    validation data; a label with few positives wants a plain threshold instead.

    Args:
      scores: floating ``[n, L]``.
      targets: ``[n, L]``, bool, integer or float; relevant where above 1/2.
      metric: ``"f1"`` or ``"accuracy"`` (of single labels: 1 - Hamming loss).
      average: ``"macro"`` finds for each label the threshold best for that label, ``"micro"``
        one threshold for all labels, best over all of their decisions together.
      where: bool ``[n, L]``, or ``[n, 1]`` for whole examples; False leaves a cell out.
      sample_weight: ``[n]``, at least 0: how many times an example counts. 0 leaves it out, 2 is
        the same as its row twice. Weights that are not integers decide between cuts of equal
        value up to rounding only.

    Returns:
      ``[L]`` for ``"macro"``, a scalar for ``"micro"``; float32 for half precision scores. Of
      equally good cuts it is the highest, with the fewest predictions: ``inf``, predict nothing,
      for a label without positives. ``-inf`` predicts everything. A NaN score or
      target makes the threshold NaN.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, ``metric`` or ``average`` is unknown,
        or a weight is negative or not finite (looked at in eager calls only).

    Example:
      >>> import numpy as np
      >>> from mlc_losses import tune_thresholds
      >>> scores = np.array([[3.0, 0.5], [1.0, -0.5], [-2.0, 0.0]])
      >>> tune_thresholds(scores, np.array([[1, 0], [1, 0], [0, 0]]))
      array([-0.5,  inf])
    """
    score_of = checked_option("metric", metric, _METRICS)
    all_labels = checked_option("average", average, {"macro": False, "micro": True})
    xp, scores, targets, where = checked_labels(scores, targets, where, logits_name="scores")
    check_matrix("scores", scores)
    weight = checked_sample_weight(xp, sample_weight, scores)
    if weight is not None:
        weight = xp.broadcast_to(weight[:, None], shape_of(scores))
        where = (weight > 0) if where is None else where & (weight > 0)
    relevant, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is not None:  # last of all, and never a cut of its own
        scores, relevant = xp.where(where, scores, -math.inf), relevant & where
    if weight is not None:
        weight = xp.where(where, weight, 0.0)
    arrays: tuple[Any, ...] = (scores, relevant, weight)
    if all_labels:
        arrays = tuple(x if x is None else xp.reshape(x, (1, -1)) for x in arrays)
    else:
        arrays = tuple(x if x is None else xp.matrix_transpose(x) for x in arrays)
    cuts = _best_cuts(xp, score_of, *arrays)
    return cuts[0] if all_labels else cuts


def _best_cuts(xp: Any, score_of: Any, scores: Any, relevant: Any, weight: Any) -> Any:
    """For each row of scores `[R, n]` the threshold of its best cut, `[R]`."""
    order = xp.argsort(scores, axis=-1, descending=True, stable=True)
    falling = entries_at(scores, order)
    infinite = columns(math.inf, scores, 1)
    # cut c, in 0..n, predicts the c highest scores: it lies above lower[c] and below upper[c]
    upper = xp.concat([infinite, falling], axis=-1)
    lower = xp.concat([falling, -infinite], axis=-1)
    places = xp.reshape(xp.arange(shape_of(upper)[-1], device=device_of(scores)), (1, -1))
    if weight is None:
        predicted, weight = places, xp.ones_like(scores, dtype=places.dtype)
    else:
        predicted = _from_nothing(xp, entries_at(weight, order))
    hits = _from_nothing(xp, entries_at(xp.where(relevant, weight, 0), order))
    possible = (upper > lower) | (places == 0)
    value = score_of(xp, hits, predicted)
    # below the value of every cut
    never = xp.astype(-1 - predicted[:, -1:], value.dtype)
    value = xp.where(possible, value, never)
    # the first of equal maxima, so the fewest predictions
    best = xp.argmax(value, axis=-1)[:, None]
    lower, upper = (entries_at(x, best) for x in (lower, upper))
    cut = xp.where(best == 0, math.inf, _between(xp, lower, upper))[:, 0]
    return xp.where(label_any(xp.isnan(scores)), math.nan, cut)


def _from_nothing(xp: Any, steps: Any) -> Any:
    """Running sums, with the sum of no entries before them."""
    sums = xp.cumulative_sum(steps, axis=-1, dtype=steps.dtype)
    return xp.concat([columns(0, sums, 1), sums], axis=-1)


def _between(xp: Any, lower: Any, upper: Any) -> Any:
    """The midpoint, or the lower end where that is -inf or the midpoint is rounded up to the upper.

    Half the way up from the lower end, or from 0 if that lies between: neither a sum nor a
    difference of two large scores. Two halves XLA would make into half a sum, which overflows.
    """
    low = xp.where(xp.isfinite(lower), lower, 0.0)
    around_0 = (low < 0) & (upper > 0)
    middle = xp.where(around_0, 0.0, low) + 0.5 * (upper - xp.where(around_0, -low, low))
    return xp.where((lower > -math.inf) & (middle < upper), middle, lower)


def _f1(xp: Any, hits: Any, predicted: Any) -> Any:
    dtype = default_float(xp)
    both = predicted + hits[:, -1:]
    return 2.0 * xp.astype(hits, dtype) / xp.astype(xp.where(both > 0, both, 1), dtype)


def _accuracy(xp: Any, hits: Any, predicted: Any) -> Any:
    """Predictions that are right less those that are wrong: as good, and an exact integer."""
    return 2 * hits - predicted


_METRICS = {"f1": _f1, "accuracy": _accuracy}
