"""The arguments of the losses over pairs of a relevant label and another one."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import checked_labels
from mlc_losses._array.ops import relevant_and_missing


def pair_arguments(
    logits: Any, targets: Any, where: Any, axis: int, logits_name: str = "logits"
) -> tuple[Any, Any, Any, Any]:
    """`(xp, scores, positive, negative)` of a loss, checked, with the label axis last.

    A label that `where` leaves out is on neither side, and its score is 0. The score of a label
    whose target is NaN is NaN.
    """
    xp, scores, targets, where = checked_labels(
        logits, targets, where, axis, logits_name=logits_name
    )
    return xp, *pair_sides(xp, scores, targets, where)


def pair_sides(xp: Any, scores: Any, targets: Any, where: Any) -> tuple[Any, Any, Any]:
    """`(scores, positive, negative)` of arguments that are checked."""
    positive, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        scores = xp.where(missing, math.nan, scores)
    if where is None:
        return scores, positive, ~positive
    return xp.where(where, scores, 0.0), positive & where, where & ~positive
