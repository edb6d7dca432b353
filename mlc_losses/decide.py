"""Scores to label sets: by a threshold, the k best, k on average; and the thresholds to use."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_floating,
    check_matrix,
    checked_float,
    checked_labels,
    checked_option,
    per_label,
    positive_integer,
)
from mlc_losses._array.labels import columns, label_any, top_k
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    default_float,
    device_of,
    is_number,
    namespace,
    shape_of,
    to_compute_dtype,
)
from mlc_losses._array.ops import entries_at, relevant_and_missing


def predict_threshold(scores: ArrayT, threshold: float | Array = 0.0) -> ArrayT:
    """Predict every label whose score is strictly above the threshold.

    Args:
      scores: floating ``[..., L]``, such as logits.
      threshold: a number, or ``[L]``, one for each label. 0 is right for logits trained with
        :func:`zlpr` or :func:`binary_cross_entropy`; :func:`tune_thresholds` finds better ones.

    Returns:
      bool ``[..., L]``. A NaN score is not predicted.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: ``threshold`` is neither a number nor ``[L]``.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_threshold
      >>> predict_threshold(np.array([[1.5, -0.5, 0.0]]))
      array([[ True, False, False]])
      >>> predict_threshold(np.array([[1.5, -0.5, 0.0]]), np.array([2.0, -1.0, -1.0]))
      array([[False,  True,  True]])
    """
    scores = _scores(scores)
    if is_number(threshold) or getattr(threshold, "ndim", 1) == 0:
        return scores > _one_threshold(threshold, scores)
    return scores > per_label("threshold", threshold, scores)


def predict_top_k(scores: ArrayT, k: int) -> ArrayT:
    """Predict the k labels of highest score, always exactly k.

    Args:
      scores: floating ``[..., L]``.
      k: a Python integer in 1..L.

    Returns:
      bool ``[..., L]`` with k True in each row. Of tied labels the ones with the lower ids are
      taken; a NaN score is taken only where there are fewer than k numbers.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: ``k`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_top_k
      >>> predict_top_k(np.array([[0.5, 2.0, 0.5, -1.0]]), 2)
      array([[ True,  True, False, False]])
    """
    scores = _scores(scores)
    k = positive_integer("k", k, shape_of(scores)[-1])
    xp = namespace(scores=scores)
    missing = xp.isnan(scores)
    ordered = xp.where(missing, -math.inf, scores)
    # the minimum, not the last column: slicing the result makes XLA sort all L scores
    cut = xp.min(top_k(ordered, k).values, axis=-1, keepdims=True)
    chosen = ordered > cut
    # tied numbers fill up first; NaN only where the cut is -inf and those did not suffice
    for candidates in ((scores == cut), missing):
        left = k - xp.count_nonzero(chosen, axis=-1)[..., None]
        chosen = chosen | (candidates & (_running_count(xp, candidates, left) <= left))
    return chosen


def _running_count(xp: Any, mask: Any, like: Any) -> Any:
    return xp.cumulative_sum(xp.astype(mask, like.dtype), axis=-1)


def predict_average_k(scores: ArrayT, threshold: float | Array) -> ArrayT:
    """Predict every class whose score is at least the threshold, one threshold for all examples.

    Args:
      scores: floating ``[..., L]``.
      threshold: a number, chosen on validation data so that the sets hold k classes on average,
        by :func:`average_k_threshold`. Choose it on log-probabilities: many probabilities saturate
        at 0 and 1, and a threshold between them is met by all of those at once.

    Returns:
      bool ``[..., L]``; sets differ in size. A NaN score is not predicted.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: ``threshold`` is not one number.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_average_k
      >>> predict_average_k(np.array([[2.0, 1.0, 0.0], [0.5, 0.0, -1.0]]), 0.5)
      array([[ True,  True, False],
             [ True, False, False]])
    """
    scores = _scores(scores)
    return scores >= _one_threshold(threshold, scores)


def _scores(scores: Any) -> Any:
    """Scores in the dtype to compare in: a threshold rounded to half precision can pass a score."""
    xp = namespace(scores=scores)
    check_floating(xp, "scores", scores)
    if scores.ndim == 0:
        raise ValueError("scores must have a label axis, got a 0-dimensional array")
    return to_compute_dtype(xp, scores)


def _one_threshold(threshold: Any, scores: Any) -> Any:
    if is_number(threshold):
        return checked_float("threshold", threshold)
    xp = namespace(scores=scores, threshold=threshold)
    threshold = accept_numpy(xp, threshold)
    if shape_of(threshold) != ():
        raise ValueError(f"threshold must be one number, got shape {shape_of(threshold)}")
    return xp.astype(threshold, scores.dtype)


def tune_thresholds(
    scores: ArrayT,
    targets: Array,
    *,
    metric: str = "f1",
    average: str = "macro",
    where: Array | None = None,
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

    Returns:
      ``[L]`` for ``"macro"``, a scalar for ``"micro"``; float32 for half precision scores. Of
      equally good cuts it is the highest, with the fewest predictions: ``inf``, predict nothing,
      for a label without positives. ``-inf`` predicts everything. A NaN score or
      target makes the threshold NaN.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: shapes differ or are not ``[n, L]``, or ``metric`` or ``average`` is unknown.

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
    relevant, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is not None:  # last of all, and never a cut of its own
        scores, relevant = xp.where(where, scores, -math.inf), relevant & where
    if all_labels:
        scores, relevant = (xp.reshape(x, (1, -1)) for x in (scores, relevant))
    else:
        scores, relevant = (xp.matrix_transpose(x) for x in (scores, relevant))
    cuts = _best_cuts(xp, scores, relevant, score_of)
    return cuts[0] if all_labels else cuts


def _best_cuts(xp: Any, scores: Any, relevant: Any, score_of: Any) -> Any:
    """For each row of scores `[R, n]` the threshold of its best cut, `[R]`."""
    order = xp.argsort(scores, axis=-1, descending=True, stable=True)
    falling = entries_at(scores, order)
    infinite = columns(math.inf, scores, 1)
    # cut c, in 0..n, predicts the c highest scores: it lies above lower[c] and below upper[c]
    upper = xp.concat([infinite, falling], axis=-1)
    lower = xp.concat([falling, -infinite], axis=-1)
    places = xp.reshape(xp.arange(shape_of(upper)[-1], device=device_of(scores)), (1, -1))
    hits = xp.cumulative_sum(xp.astype(entries_at(relevant, order), places.dtype), axis=-1)
    hits = xp.concat([xp.zeros_like(infinite, dtype=hits.dtype), hits], axis=-1)
    possible = (upper > lower) | (places == 0)
    value = xp.where(possible, score_of(xp, hits, places), -shape_of(places)[-1])
    # the first of equal maxima, so the fewest predictions
    best = xp.argmax(value, axis=-1)[:, None]
    lower, upper = (entries_at(x, best) for x in (lower, upper))
    cut = xp.where(best == 0, math.inf, _between(xp, lower, upper))[:, 0]
    return xp.where(label_any(xp.isnan(scores)), math.nan, cut)


def _between(xp: Any, lower: Any, upper: Any) -> Any:
    """The midpoint, or the lower end where that is -inf or the midpoint is rounded up to the upper.

    The halves are added, as the sum of two large scores would overflow.
    """
    # -inf + inf must not be formed
    middle = 0.5 * lower + 0.5 * xp.where(lower > -math.inf, upper, lower)
    return xp.where(middle < upper, middle, lower)


def _f1(xp: Any, hits: Any, predicted: Any) -> Any:
    dtype = default_float(xp)
    both = predicted + hits[:, -1:]
    return 2.0 * xp.astype(hits, dtype) / xp.astype(xp.where(both > 0, both, 1), dtype)


def _accuracy(xp: Any, hits: Any, predicted: Any) -> Any:
    """Predictions that are right less those that are wrong: as good, and an exact integer."""
    return 2 * hits - predicted


_METRICS = {"f1": _f1, "accuracy": _accuracy}
