"""Arguments of the losses with one class per example: scores `[..., L]` and integer ids `[...]`."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import label_numbers, num_labels
from mlc_losses._array.namespace import (
    can_look,
    check_floating,
    check_integer,
    checked_where,
    default_integer,
    labels_last,
    namespace,
    shape_of,
    to_compute_dtype,
)


def class_scores(
    logits: Any, labels: Any, where: Any = None, axis: int = -1, *, logits_name: str = "logits"
) -> tuple[Any, Any, Any, Any, Any]:
    """`(xp, logits, labels, where, valid)` of a loss, checked, with the label axis last.

    `valid` is a factor for the losses: NaN for a label out of range that nobody has looked at,
    which must not pass for a loss of 0, and else 1; None where all have been looked at.
    """
    xp = namespace(**{logits_name: logits, "labels": labels, "where": where})
    check_floating(xp, logits_name, logits)
    check_integer(xp, "labels", labels)
    if logits.ndim == 0:
        raise ValueError(f"{logits_name} must have a label axis, got a 0-dimensional array")
    where = checked_where(xp, logits_name, logits, where, axis)
    logits = labels_last(xp, to_compute_dtype(xp, logits), axis)
    batch, count = shape_of(logits)[:-1], num_labels(logits)
    if shape_of(labels) != batch:
        raise ValueError(
            f"labels must have the shape of {logits_name} without the label axis, "
            f"{batch}, got {shape_of(labels)}"
        )
    check_class_ids(labels, count)
    # a narrow integer may not hold so many
    labels = xp.astype(labels, default_integer(xp))
    if can_look(labels):
        return xp, logits, labels, where, None
    exists = (labels >= 0) & (labels < count)
    one = xp.ones_like(labels, dtype=logits.dtype)
    return xp, logits, labels, where, xp.where(exists, one, math.nan)


def class_arguments(
    logits: Any, labels: Any, where: Any = None, axis: int = -1, *, logits_name: str = "logits"
) -> tuple[Any, Any, Any]:
    """`(xp, scores, is_label)`, both `[..., L]`, for a loss that asks for the label as a mask.

    Classes that `where` leaves out have the score -inf. `is_label` is True at the label, and
    nowhere if that class is left out. The scores of an example whose label is not valid are NaN.
    """
    xp, scores, labels, where, valid = class_scores(
        logits, labels, where, axis, logits_name=logits_name
    )
    is_label = labels[..., None] == label_numbers(scores)
    if valid is not None:
        scores = xp.where(xp.isnan(valid)[..., None], math.nan, scores)
    if where is not None:
        scores, is_label = xp.where(where, scores, -math.inf), is_label & where
    return xp, scores, is_label


def check_class_ids(labels: Any, count: int) -> None:
    """Raises for a label out of range, if values can be looked at."""
    if not can_look(labels):
        return
    values = to_host("labels", labels)
    bad = (values < 0) | (values >= count)
    if bad.any():
        index = first_index(bad)
        raise ValueError(
            f"labels must be in 0..{count - 1}, got {int(values[index])} at index {index}"
        )
