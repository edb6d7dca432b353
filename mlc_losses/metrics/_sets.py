"""Arguments of the metrics of predicted label sets."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.arguments import (
    check_array,
    check_matrix,
    check_numbers,
    check_same_shape,
    checked_where,
)
from mlc_losses._array.namespace import accept_numpy, namespace
from mlc_losses._array.ops import relevant_and_missing
from mlc_losses._array.value_checks import checked_sample_weight


class Sets(NamedTuple):
    """Predictions and targets, checked; what is not known is in no set."""

    xp: Any
    predicted: Any  # bool `[n, L]`
    relevant: Any  # bool `[n, L]`
    where: Any  # bool `[n, L]`, or None
    missing: Any  # where a known target is NaN; None where there cannot be one
    sample_weight: Any  # `[n]`, or None


def checked_sets(predictions: Any, targets: Any, where: Any, sample_weight: Any) -> Sets:
    namespace(predictions=predictions, targets=targets, where=where)
    xp, predicted, where, weight = checked_predictions(predictions, where, sample_weight)
    check_numbers(xp, "targets", targets)
    check_same_shape("predictions", predictions, "targets", targets)
    relevant, missing = relevant_and_missing(xp, accept_numpy(xp, targets))
    if where is not None:
        relevant = relevant & where
        missing = None if missing is None else missing & where
    return Sets(xp, predicted, relevant, where, missing, weight)


def checked_predictions(
    predictions: Any, where: Any, sample_weight: Any
) -> tuple[Any, Any, Any, Any]:
    """`(xp, predicted, where, sample_weight)`."""
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
    weight = checked_sample_weight(xp, sample_weight, predictions)
    return xp, predicted if where is None else predicted & where, where, weight


def spoiled(given: Sets, values: Any, axis: int | None) -> Any:
    """NaN for what a NaN target is counted in."""
    xp, missing = given.xp, given.missing
    return values if missing is None else xp.where(xp.any(missing, axis=axis), math.nan, values)
