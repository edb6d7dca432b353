"""Counts, ratios and means, where nothing counted gives 0; and the discounts of ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlc_losses._array.arguments import check_matrix, checked_labels
from mlc_losses._array.labels import looked_up
from mlc_losses._array.namespace import default_float, device_of, namespace, shape_of
from mlc_losses._array.ops import relevant_and_missing

# the axis that each way to average counts over, before the mean of what is left
COUNTED_AXIS = {"micro": None, "macro": 0, "samples": -1, None: 0}


def count(xp: Any, mask: Any, axis: int | None) -> Any:
    """How many are True, counted in integers and handed over as the default float."""
    return xp.astype(xp.count_nonzero(mask, axis=axis), default_float(xp))


def ratio(xp: Any, part: Any, whole: Any) -> Any:
    """`part / whole`, and 0 where the whole is 0."""
    return part / xp.where(whole > 0, whole, 1.0)


def mean(xp: Any, values: Any, known: Any = None) -> Any:
    """The mean of the values that are known, and 0 of no values at all."""
    if known is not None:
        number = count(xp, known, None)
        return ratio(xp, xp.sum(xp.where(known, values, 0.0)), number)
    number = 1
    for size in shape_of(values):
        number *= size
    return xp.sum(values) / max(number, 1)


def averaged(xp: Any, values: Any, average: str | None, known: Any = None) -> Any:
    """The values themselves for `average=None`, else their mean."""
    return values if average is None else mean(xp, values, known)


def any_known(where: Any, axis: int | None = -1) -> Any:
    """Which examples, or labels, have a known cell; None if all are known."""
    if where is None:
        return None
    return namespace(where=where).any(where, axis=axis)


def scores_and_relevance(scores: Any, targets: Any, where: Any = None) -> tuple[Any, Any, Any, Any]:
    """`(xp, scores, relevant, where)`, checked; scores in the dtype to compute in, relevance bool.

    Where a label is not known its score is -inf and it is not relevant; where a target is NaN, so
    is the score.
    """
    xp, scores, targets, where = checked_labels(scores, targets, where, logits_name="scores")
    check_matrix("scores", scores)
    relevant, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is not None:
        scores, relevant = xp.where(where, scores, -math.inf), relevant & where
    return xp, scores, relevant, where


def discounts_between(xp: Any, first: Any, last: Any, k: int, like: Any) -> Any:
    """Sum of the discounts 1 / log2(2 + place) of the places first..last-1 that are below k.

    Prefix sums, each as two float numbers: one alone would round away a small discount far down.
    """
    prefix = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(k) + 2.0))])
    high = prefix.astype(np.float32)
    total = 0.0
    for part in (high, prefix - high):
        table = xp.astype(xp.asarray(part, device=device_of(like)), like.dtype)
        total = total + (_look_up(xp, table, last) - _look_up(xp, table, first))
    return total


def _look_up(xp: Any, table: Any, places: Any) -> Any:
    """The table's entry at each place, its last one beyond the end."""
    end = shape_of(table)[0] - 1
    return looked_up(table, xp.where(places < end, places, end))
