"""What the top-k hinges share: differences of scores, and losses of NaN scores."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import namespace


def at_label(x: Any, is_label: Any) -> Any:
    """`x` at the label and 0 elsewhere, to be summed."""
    return namespace(x=x).where(is_label, x, 0.0)


def difference(x: Any, own: Any) -> Any:
    """`x - own`, where two of inf differ by 0, and -inf stays -inf."""
    xp = namespace(x=x)
    deleted = x == -xp.inf
    undefined = deleted | ((x == xp.inf) & (own == xp.inf))
    difference = xp.where(undefined, 0.0, x) - xp.where(undefined, 0.0, own)
    return xp.where(deleted, -xp.inf, difference)


def with_nan_scores(loss: Any, scores: Any, is_label: Any) -> Any:
    """The loss, NaN where a score is NaN, which a selection may overlook; 0 without the label."""
    xp = namespace(scores=scores)
    loss = xp.where(label_any(is_label), loss, 0.0)
    return xp.where(label_any(xp.isnan(scores)), xp.nan, loss)
