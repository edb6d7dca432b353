"""Scores to label sets: above a threshold, the k best, k on average."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_floating,
    check_numbers,
    checked_float,
    per_label,
    positive_integer,
)
from mlc_losses._array.labels import top_k
from mlc_losses._array.namespace import (
    Array,
    ArrayT,
    accept_numpy,
    is_number,
    namespace,
    shape_of,
    to_compute_dtype,
)


def predict_threshold(
    scores: ArrayT, threshold: float | Array = 0.0, *, at_least: int = 0
) -> ArrayT:
    """Predict every label whose score is strictly above the threshold.

    Args:
      scores: floating ``[..., L]``, such as logits.
      threshold: a number, or ``[L]``, one for each label. 0 is right for logits trained with
        :func:`zlpr` or :func:`binary_cross_entropy`; :func:`tune_thresholds` finds better ones.
      at_least: a Python integer in 0..L. The labels of the so many highest scores are always in,
        as :func:`predict_top_k` takes them: 1 leaves no set empty.

    Returns:
      bool ``[..., L]``. A NaN score is not predicted, unless a row has fewer than ``at_least``
      numbers.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: ``threshold`` is neither a number nor ``[L]``, or ``at_least`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_threshold
      >>> predict_threshold(np.array([[1.5, -0.5, 0.0]]))
      array([[ True, False, False]])
      >>> predict_threshold(np.array([[1.5, -0.5, 0.0]]), np.array([2.0, -1.0, -1.0]))
      array([[False,  True,  True]])
      >>> predict_threshold(np.array([[-1.5, -0.5, -2.0]]), at_least=1)
      array([[False,  True, False]])
    """
    scores = _scores(scores)
    if is_number(threshold) or getattr(threshold, "ndim", 1) == 0:
        above = scores > _one_threshold(threshold, scores)
    else:
        above = scores > per_label("threshold", threshold, scores)
    return _with_at_least(above, scores, at_least)


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
    chosen = highest(xp, ordered, cut, k, ~missing)
    # NaN only where there are fewer numbers than k
    left = k - xp.count_nonzero(chosen, axis=-1)[..., None]
    return chosen | (missing & (_running_count(xp, missing, left) <= left))


def highest(xp: Any, scores: Any, cut: Any, k: Any, among: Any) -> Any:
    """Bool: the entries above the k-th largest, the cut, and the first of those that tie with it.

    A cut and a number k for each row, `[..., 1]`.
    """
    chosen, tied = scores > cut, (scores == cut) & among
    left = k - xp.count_nonzero(chosen, axis=-1)[..., None]
    return chosen | (tied & (_running_count(xp, tied, left) <= left))


def _running_count(xp: Any, mask: Any, like: Any) -> Any:
    return xp.cumulative_sum(xp.astype(mask, like.dtype), axis=-1)


def predict_average_k(scores: ArrayT, threshold: float | Array, *, at_least: int = 0) -> ArrayT:
    """Predict every class whose score is at least the threshold, one threshold for all examples.

    Args:
      scores: floating ``[..., L]``.
      threshold: a number, chosen on validation data so that the sets hold k classes on average,
        by :func:`average_k_threshold`. Choose it on log-probabilities: many probabilities saturate
        at 0 and 1, and a threshold between them is met by all of those at once. Or one of
        :func:`conformal_threshold`.
      at_least: a Python integer in 0..L. The labels of the so many highest scores are always in,
        as :func:`predict_top_k` takes them: 1 leaves no set empty.

    Returns:
      bool ``[..., L]``; sets differ in size. A NaN score is not predicted, unless a row has fewer
      than ``at_least`` numbers.

    Raises:
      TypeError: scores are not floating-point.
      ValueError: ``threshold`` is not one number, or ``at_least`` is out of range.

    Example:
      >>> import numpy as np
      >>> from mlc_losses import predict_average_k
      >>> predict_average_k(np.array([[2.0, 1.0, 0.0], [0.5, 0.0, -1.0]]), 0.5)
      array([[ True,  True, False],
             [ True, False, False]])
    """
    scores = _scores(scores)
    return _with_at_least(scores >= _one_threshold(threshold, scores), scores, at_least)


def _with_at_least(chosen: Any, scores: Any, at_least: int) -> Any:
    at_least = positive_integer("at_least", at_least, shape_of(scores)[-1], low=0)
    return chosen | predict_top_k(scores, at_least) if at_least else chosen


def _scores(scores: Any) -> Any:
    """Scores in the dtype to compare in: a threshold rounded to half precision can pass a score."""
    xp = namespace(scores=scores)
    check_floating(xp, "scores", scores)
    if scores.ndim == 0:
        raise ValueError("scores must have a label axis, got a 0-dimensional array")
    return to_compute_dtype(xp, scores)


def _one_threshold(threshold: Any, scores: Any) -> Any:
    if is_number(threshold):
        return checked_float("threshold", threshold, finite=False)
    xp = namespace(scores=scores, threshold=threshold)
    check_numbers(xp, "threshold", threshold)
    threshold = accept_numpy(xp, threshold)
    if shape_of(threshold) != ():
        raise ValueError(f"threshold must be one number, got shape {shape_of(threshold)}")
    return xp.astype(threshold, scores.dtype)
