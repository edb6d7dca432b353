"""Labels by their indices: masks, sums and entries at them, without an array of pairs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_numpy_namespace, is_torch_namespace
from mlc_losses._array.labels import label_indices, labels_together
from mlc_losses._array.layout import label_shards, require_all_labels
from mlc_losses._array.namespace import default_integer, device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at


def scatter_true(ids: Any, num_labels: int) -> Any:
    """Bool `[..., num_labels]`, True at the ids `[..., P]`; an id out of range sets nothing."""
    xp = namespace(ids=ids)
    require_all_labels(xp, "makes a row of all labels")
    ids = xp.where((ids >= 0) & (ids < num_labels), ids, num_labels)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        mask = xp.zeros((*ids.shape[:-1], num_labels), dtype=xp.bool, device=device_of(ids))
        return jax_rows.by_rows(lambda row, ids: row.at[ids].set(True, mode="drop"), mask, ids)
    # one column more takes the ids that set nothing
    shape = (*shape_of(ids)[:-1], num_labels + 1)
    mask = xp.zeros(shape, dtype=xp.bool, device=device_of(ids))
    if is_torch_namespace(xp):
        mask = mask.scatter(-1, xp.astype(ids, xp.int64), True)
    else:
        positions = label_indices(mask)
        for column in range(shape_of(ids)[-1]):
            mask = mask | (ids[..., column, None] == positions)
    return mask[..., :num_labels]


def first_positions(ids: Any, num_labels: int) -> Any:
    """Where each label first stands in the ids `[..., P]`: `[..., num_labels]`, P if nowhere."""
    xp = namespace(ids=ids)
    require_all_labels(xp, "makes a row of all labels")
    *batch, length = shape_of(ids)
    # one column more takes the ids that are not labels
    ids = xp.where((ids >= 0) & (ids < num_labels), ids, num_labels)
    shape = (*batch, num_labels + 1)
    first = xp.full(shape, length, dtype=default_integer(xp), device=device_of(ids))
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        places = xp.arange(length)
        first = jax_rows.by_rows(lambda row, ids: row.at[ids].min(places), first, ids)
    elif is_torch_namespace(xp):
        places = xp.broadcast_to(label_indices(ids), shape_of(ids))
        first = first.scatter_reduce(-1, xp.astype(ids, xp.int64), places, "amin")
    else:
        positions = label_indices(first)
        for column in reversed(range(length)):
            first = xp.where(ids[..., column, None] == positions, column, first)
    return first[..., :num_labels]


def add_at(indices: Any, weights: Any, num_labels: int) -> Any:
    """`[..., L]`: at each label the sum of the `weights` `[..., W]` whose `indices` name it.

    An index of `num_labels` adds nothing. Where the labels are split, `num_labels` is that of
    one shard, and the indices count all labels.
    """
    xp = namespace(indices=indices, weights=weights)
    indices = _local_indices(xp, indices, num_labels)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(partial(_add_in_row, num_labels), indices, weights)
    *batch, width = shape_of(indices)
    rows = math.prod(batch)
    indices = xp.reshape(indices, (rows, width))
    weights = xp.reshape(weights, (rows, width))
    # one column more takes the indices that add nothing
    if is_numpy_namespace(xp):
        places = (num_labels + 1) * xp.arange(rows)[:, None] + indices
        sums = xp.bincount(places.ravel(), weights.ravel(), minlength=rows * (num_labels + 1))
        total = xp.reshape(xp.astype(sums, weights.dtype), (rows, num_labels + 1))
    else:
        total = xp.zeros((rows, num_labels + 1), dtype=weights.dtype, device=device_of(weights))
        if is_torch_namespace(xp):
            total = total.scatter_add(-1, xp.astype(indices, xp.int64), weights)
        else:
            for column in range(width):
                here = indices[:, column, None] == label_indices(total)
                total = total + xp.where(here, weights[:, column, None], 0.0)
    return xp.reshape(total[:, :num_labels], (*batch, num_labels))


def _add_in_row(num_labels: int, indices: Any, weights: Any) -> Any:
    """`add_at` for one row, on JAX."""
    zeros = namespace(weights=weights).zeros_like(weights, shape=(num_labels,))
    return zeros.at[indices].add(weights, mode="drop")


def group_sums(values: Any, groups: Any, num_groups: int) -> Any:
    """Sum of the values `[n]` of each group `[num_groups]`; a group out of range is left out."""
    xp = namespace(values=values, groups=groups)
    inside = (groups >= 0) & (groups < num_groups)
    return add_at(xp.where(inside, groups, num_groups), values, num_groups)


def values_at(x: Any, indices: Any) -> Any:
    """The entries of `x` `[..., L]` at the `indices` `[..., W]`; 0 for an index of L."""
    xp = namespace(x=x, indices=indices)
    num_labels = shape_of(x)[-1]
    indices = _local_indices(xp, indices, num_labels)
    exists = indices < num_labels
    places = xp.astype(xp.where(exists, indices, 0), default_integer(xp))
    values = xp.where(exists, entries_at(labels_together(x), places), 0.0)
    shards = label_shards(xp)
    return values if shards is None else shards.psum(values)


def _local_indices(xp: Any, indices: Any, width: int) -> Any:
    """Indices among all labels as indices into this shard; `width` for a label of another shard."""
    shards = label_shards(xp)
    if shards is None:
        return indices
    places = indices - xp.astype(shards.offset(width), indices.dtype)
    return xp.where((places >= 0) & (places < width), places, width)


def inverse_permuted(x: Any, order: Any) -> Any:
    """`x`, whose entries are in the `order` of an argsort, in the order before that sort."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(lambda x, order: xp.zeros_like(x).at[order].set(x), x, order)
    if is_torch_namespace(xp):
        return xp.zeros_like(x).scatter(-1, order, x)
    return entries_at(x, xp.argsort(order, axis=-1))
