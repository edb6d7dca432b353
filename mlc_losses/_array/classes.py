"""Arguments of the losses with one class per example: scores `[..., L]` and integer ids `[...]`."""

from __future__ import annotations

from typing import Any

from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import label_numbers, num_labels
from mlc_losses._array.namespace import (
    check_floating,
    check_integer,
    check_same_shape,
    default_integer,
    is_concrete,
    label_arguments,
    namespace,
    shape_of,
)


def class_arguments(
    logits: Any, labels: Any, where: Any = None, axis: int = -1, *, logits_name: str = "logits"
) -> tuple[Any, Any, Any]:
    """`(xp, scores, is_label)` of a loss, checked, both `[..., L]` with the label axis last.

    Classes that `where` leaves out have the score -inf. `is_label` is True at the label, and
    nowhere if that class is left out. An example whose label is out of range, which raises in
    eager code, is NaN under a trace.
    """
    xp = namespace(**{logits_name: logits, "labels": labels, "where": where})
    check_floating(xp, logits_name, logits)
    check_integer(xp, "labels", labels)
    if where is not None:
        check_same_shape(logits_name, logits, "where", where)
    if logits.ndim == 0:
        raise ValueError(f"{logits_name} must have a label axis, got a 0-dimensional array")
    if axis not in (-1, logits.ndim - 1):
        logits = xp.moveaxis(logits, axis, -1)
        where = None if where is None else xp.moveaxis(where, axis, -1)
    batch, count = shape_of(logits)[:-1], num_labels(logits)
    if shape_of(labels) != batch:
        raise ValueError(
            f"labels must have the shape of {logits_name} without the label axis, "
            f"{batch}, got {shape_of(labels)}"
        )
    check_class_ids(labels, count)
    # a narrow integer may not hold so many
    labels = xp.astype(labels, default_integer(xp))
    is_label = labels[..., None] == label_numbers(logits)
    xp, scores, _, where = label_arguments(logits, is_label, where)
    if not is_concrete(labels):
        # nobody has looked at them: one out of range is not to pass for a loss of 0
        exists = (labels >= 0) & (labels < count)
        scores = xp.where(exists[..., None], scores, xp.nan)
    if where is not None:
        scores, is_label = xp.where(where, scores, -xp.inf), is_label & where
    return xp, scores, is_label


def check_class_ids(labels: Any, count: int) -> None:
    """Raises for a label out of range, if values can be looked at."""
    if not is_concrete(labels):
        return
    values = to_host("labels", labels)
    bad = (values < 0) | (values >= count)
    if bad.any():
        index = first_index(bad)
        raise ValueError(
            f"labels must be in 0..{count - 1}, got {int(values[index])} at index {index}"
        )
