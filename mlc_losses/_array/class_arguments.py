"""Arguments of the losses with one class per example: scores `[..., L]` and integer ids `[...]`."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import check_floating, check_integer, checked_where, labels_last
from mlc_losses._array.backend import is_torch_array
from mlc_losses._array.host import first_index, to_host
from mlc_losses._array.labels import is_class, label_any, num_labels
from mlc_losses._array.namespace import (
    accept_numpy,
    can_look,
    default_integer,
    namespace,
    of_ready_tensors,
    shape_of,
    to_compute_dtype,
)


def class_scores(
    logits: Any, labels: Any, where: Any = None, axis: int = -1, *, logits_name: str = "logits"
) -> tuple[Any, Any, Any, Any, Any]:
    """`(xp, logits, labels, where, valid)` of a loss, checked, with the label axis last.

    `valid` is for `of_valid`. The label of an example that `where` leaves out as a whole is
    neither checked nor used: it is 0.
    """
    xp = of_ready_tensors(logits, labels, axis, are_ids=True)
    if where is None and xp is not None and can_look(labels):
        _check_known_ids(labels, logits.shape[-1], "labels")
        return xp, logits, labels, None, None
    xp = namespace(**{logits_name: logits, "labels": labels, "where": where})
    check_floating(xp, logits_name, logits)
    check_integer(xp, "labels", labels)
    if logits.ndim == 0:
        raise ValueError(f"{logits_name} must have a label axis, got a 0-dimensional array")
    where = checked_where(xp, logits_name, logits, where, axis)
    logits = labels_last(xp, to_compute_dtype(xp, logits), axis)
    labels = accept_numpy(xp, labels)
    batch, count = shape_of(logits)[:-1], num_labels(logits)
    if shape_of(labels) != batch:
        raise ValueError(
            f"labels must have the shape of {logits_name} without the label axis, "
            f"{batch}, got {shape_of(labels)}"
        )
    # a narrow integer may not hold so many
    ids = xp.astype(labels, default_integer(xp))
    if where is not None:
        labels = ids = xp.where(label_any(where), ids, 0)
    # looked at as they were given: under a trace a conversion is traced
    if can_look(labels):
        check_class_ids(labels, count)
        return xp, logits, ids, where, None
    return xp, logits, ids, where, valid_ids("labels", ids, count, logits.dtype)


def class_arguments(
    logits: Any, labels: Any, where: Any = None, axis: int = -1, *, logits_name: str = "logits"
) -> tuple[Any, Any, Any, Any]:
    """`(xp, scores, is_label, valid)` for a loss that asks for the label as a mask `[..., L]`.

    Classes that `where` leaves out have the score -inf. `is_label` is True at the label, and
    nowhere if that class is left out. The factor of `of_valid` is on the scores too: a hinge or a
    selection lets no NaN back to them.
    """
    xp, scores, labels, where, valid = class_scores(
        logits, labels, where, axis, logits_name=logits_name
    )
    is_label = is_class(scores, labels)
    scores = of_valid(scores, None if valid is None else valid[..., None])
    if where is not None:
        scores, is_label = xp.where(where, scores, -math.inf), is_label & where
    return xp, scores, is_label, valid


def valid_ids(name: str, ids: Any, count: int, dtype: Any) -> Any:
    """A factor `[...]` for `of_valid`: NaN for a class id out of range that could not be checked.

    None where the ids can be looked at; then one that is out of range raises.
    """
    if can_look(ids):
        check_class_ids(ids, count, name)
        return None
    xp = namespace(ids=ids)
    one = xp.ones_like(ids, dtype=dtype)
    return xp.where((ids >= 0) & (ids < count), one, math.nan)


def of_valid(loss: Any, valid: Any) -> Any:
    """The loss, NaN in value and gradient for an example whose class id is out of range.

    It must not pass for a loss of 0. A factor on the result: XLA for CPUs loses a NaN that goes
    into an exponential.
    """
    return loss if valid is None else loss * valid


def check_class_ids(labels: Any, count: int, name: str = "labels") -> None:
    """Raises for a class id out of range, if values can be looked at."""
    if can_look(labels):
        _check_known_ids(labels, count, name)


def _check_known_ids(labels: Any, count: int, name: str) -> None:
    if is_torch_array(labels) and labels.numel():  # NumPy would take a small call longer
        low, high = labels.aminmax()
        if low.item() >= 0 and high.item() < count:
            return
    values = to_host(name, labels)
    if count == 0 and values.size:
        raise ValueError(f"{name} must be class ids, but the label axis has length 0")
    bad = (values < 0) | (values >= count)
    if bad.any():
        index = first_index(bad)
        raise ValueError(
            f"{name} must be in 0..{count - 1}, got {int(values[index])} at index {index}"
        )
