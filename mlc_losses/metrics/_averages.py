"""Counts, ratios and means, weighted or not, where nothing counted gives 0."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.namespace import as_dtype, default_float, namespace, shape_of

# the axis that each way to average counts over, before the mean of what is left
COUNTED_AXIS = {"micro": None, "macro": 0, "weighted": 0, "samples": -1, None: 0}


def count(xp: Any, mask: Any, axis: int | None, weight: Any = None) -> Any:
    """How much is True, an example as much as its weight `[n]`; in a float.

    Without weights it is counted in integers and handed over as the default float.
    """
    if weight is None:
        return xp.astype(xp.count_nonzero(mask, axis=axis), default_float(xp))
    return xp.sum(xp.where(mask, weight[:, None], 0.0), axis=axis)


def ratio(xp: Any, part: Any, whole: Any) -> Any:
    """`part / whole`, and 0 where the whole is 0."""
    return part / xp.where(whole > 0, whole, 1.0)


def mean(xp: Any, values: Any, known: Any = None, weight: Any = None) -> Any:
    """The mean of the values that are known, by their weights; 0 of no values at all."""
    if known is not None:
        values = xp.where(known, values, 0.0)
    if weight is not None:
        weight = weight if known is None else xp.where(known, weight, 0.0)
        weight = as_dtype(xp, weight, values.dtype)
        return ratio(xp, xp.sum(weight * values), xp.sum(weight))
    if known is not None:
        return ratio(xp, xp.sum(values), as_dtype(xp, count(xp, known, None), values.dtype))
    return xp.sum(values) / max(math.prod(shape_of(values)), 1)


def averaged(
    xp: Any, values: Any, average: str | None, known: Any, sample_weight: Any, support: Any
) -> Any:
    """The values themselves for `average=None`, else their mean in that way.

    The support is how much is relevant, of each value.
    """
    if average is None:
        return values
    weight = {"samples": sample_weight, "weighted": support}.get(average)
    return mean(xp, values, known, weight)


def inside(average: str | None, sample_weight: Any) -> Any:
    """The weights that count inside a value: all that do not weigh the values themselves."""
    return None if average == "samples" else sample_weight


def any_known(where: Any, axis: int | None = -1) -> Any:
    """Which examples, or labels, have a known cell; None if all are known."""
    if where is None:
        return None
    return namespace(where=where).any(where, axis=axis)
