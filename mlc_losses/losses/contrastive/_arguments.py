"""Arguments of the losses on embeddings `[B, D]`: checked, and in the dtype to compute in."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.arguments import (
    check_array,
    check_floating,
    check_mask,
    check_matrix,
    check_numbers,
)
from mlc_losses._array.batch import whole_batch
from mlc_losses._array.labels import label_any
from mlc_losses._array.namespace import (
    accept_numpy,
    device_of,
    namespace,
    shape_of,
    to_compute_dtype,
)


def check_rows(name: str, x: Any, other_name: str, other: Any) -> None:
    """Both `[rows, width]`, with as many rows."""
    for each, array in ((name, x), (other_name, other)):
        check_array(each, array)
        if array.ndim != 2:
            raise ValueError(f"{each} must have two axes, rows and columns, got {shape_of(array)}")
    if shape_of(x)[0] != shape_of(other)[0]:
        raise ValueError(
            f"{name} and {other_name} must have the same number of rows, "
            f"got {shape_of(x)} and {shape_of(other)}"
        )


def check_width(name: str, x: Any, other_name: str, other: Any) -> None:
    """Both `[rows, width]`, as wide."""
    check_array(name, x)
    if x.ndim != 2 or shape_of(x)[1] != shape_of(other)[1]:
        raise ValueError(
            f"{name} must be as wide as {other_name}, [rows, {shape_of(other)[1]}], "
            f"got {shape_of(x)}"
        )


def embeddings_and_targets(
    embeddings: Any,
    targets: Any,
    *,
    names: tuple[str, str] = ("embeddings", "targets"),
    **others: Any,
) -> tuple[Any, Any, Any]:
    """`(xp, embeddings, labels)`, labels 0 or 1 in the dtype of the embeddings.

    `others` are only checked to come from the same library.
    """
    xp = namespace(**{names[0]: embeddings, names[1]: targets}, **others)
    check_floating(xp, names[0], embeddings)
    check_numbers(xp, names[1], targets)
    targets = accept_numpy(xp, targets)
    check_rows(names[0], embeddings, names[1], targets)
    embeddings = nan_of_targets(to_compute_dtype(xp, embeddings), targets)
    return xp, embeddings, binary(names[1], targets, embeddings.dtype)


def nan_of_targets(rows: Any, targets: Any) -> Any:
    """The rows, NaN where a target of theirs is."""
    xp = namespace(rows=rows)
    if not xp.isdtype(targets.dtype, "real floating"):
        return rows
    return xp.where(label_any(xp.isnan(targets))[:, None], math.nan, rows)


def binary(name: str, targets: Any, dtype: Any) -> Any:
    """1 where a target is above 1/2, else 0."""
    xp = namespace(**{name: targets})
    check_numbers(xp, name, targets)
    if targets.ndim != 2:
        raise ValueError(f"{name} must have two axes, rows and labels, got {shape_of(targets)}")
    if xp.isdtype(targets.dtype, "bool"):
        return xp.astype(targets, dtype)
    return xp.astype(xp.astype(targets, dtype) > 0.5, dtype)


def unit_targets(targets: Any) -> Any:
    """The label vectors of prototypes, `[L, L]`: each its own label, like `targets` `[B, L]`."""
    xp = namespace(targets=targets)
    return xp.eye(shape_of(targets)[-1], dtype=targets.dtype, device=device_of(targets))


def key_labels(key_targets: Any, key_where: Any, like: Any) -> tuple[Any, Any]:
    """Labels of the keys, and bool `[K]`, which keys are candidates; `like`: the batch's labels."""
    xp = namespace(targets=like, key_targets=key_targets, key_where=key_where)
    check_numbers(xp, "key_targets", key_targets)
    check_matrix("key_targets", key_targets, "[K, L]")
    if key_where is not None:
        check_mask(xp, "key_where", key_where, "no candidate")
        if key_where.ndim != 1:
            raise ValueError(f"key_where must have shape [K], got {shape_of(key_where)}")
    key_targets, key_where = accept_numpy(xp, key_targets), accept_numpy(xp, key_where)
    keys = binary("key_targets", whole_batch(key_targets), like.dtype)
    check_width("key_targets", keys, "targets", like)
    if key_where is None:
        return keys, xp.ones(shape_of(keys)[:1], dtype=xp.bool, device=device_of(keys))
    key_where = whole_batch(key_where)
    if shape_of(key_where) != shape_of(keys)[:1]:
        raise ValueError(
            f"key_where must have one entry per key, shape {shape_of(keys)[:1]}, "
            f"got {shape_of(key_where)}"
        )
    return keys, key_where
