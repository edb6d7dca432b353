"""Counts, ratios and means, where nothing counted gives 0."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.namespace import default_float, label_arguments, shape_of
from mlc_losses._array.ranks import check_matrix

# the axis that each way to average counts over, before the mean of what is left
COUNTED_AXIS = {"micro": None, "macro": 0, "samples": -1, None: 0}


def count(xp: Any, mask: Any, axis: int | None) -> Any:
    """How many are True, counted in integers and handed over as the default float."""
    return xp.astype(xp.count_nonzero(mask, axis=axis), default_float(xp))


def ratio(xp: Any, part: Any, whole: Any) -> Any:
    """`part / whole`, and 0 where the whole is 0."""
    return part / xp.where(whole > 0, whole, 1.0)


def mean(xp: Any, values: Any) -> Any:
    """The mean, and 0 of no values at all."""
    number = 1
    for size in shape_of(values):
        number *= size
    return xp.sum(values) / max(number, 1)


def averaged(xp: Any, values: Any, average: str | None) -> Any:
    """The values themselves for `average=None`, else their mean."""
    return values if average is None else mean(xp, values)


def scores_and_relevance(scores: Any, targets: Any) -> tuple[Any, Any, Any]:
    """`(xp, scores, relevant)`, checked; scores in the dtype to compute in, relevance bool."""
    xp, scores, targets, _ = label_arguments(scores, targets, logits_name="scores")
    check_matrix("scores", scores)
    return xp, scores, xp.astype(targets, xp.bool)
