"""Both sides of the pairs of a relevant label and another one."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.ops import relevant_and_missing


def pair_sides(xp: Any, where: Any, logits: Any, targets: Any) -> tuple[Any, Any, Any]:
    """Scores, and which labels are positive and which negative, of arguments that are checked.

    A label that `where` leaves out is on neither side, and its score is 0. The score of a label
    whose target is NaN is NaN.
    """
    positive, missing = relevant_and_missing(xp, targets)
    if missing is not None:
        logits = xp.where(missing, math.nan, logits)
    if where is None:
        return logits, positive, ~positive
    return xp.where(where, logits, 0.0), positive & where, where & ~positive
