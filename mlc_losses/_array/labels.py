"""Reductions over the label axis, which is always the last one here.

Every loss reduces its labels through these functions and nowhere else, so this is the one place
where a reduction can become collective (labels split over devices) or blockwise.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from mlc_losses._array.backend import is_jax_namespace, is_torch_namespace
from mlc_losses._array.layout import label_shards
from mlc_losses._array.namespace import default_integer, device_of, namespace, shape_of
from mlc_losses._array.ops import entries_at, stop_gradient


class TopK(NamedTuple):
    """What `top_k` returns: the k largest (or smallest) entries and where they were."""

    values: Any
    indices: Any


def label_sum(x: Any, where: Any = None) -> Any:
    """Sum over the labels; those where `where` is False add nothing, in value and gradient."""
    xp = namespace(x=x)
    return _psum_labels(xp, xp.sum(x if where is None else xp.where(where, x, 0.0), axis=-1))


def _psum_labels(xp: Any, own: Any) -> Any:
    """The sum over all labels, from that over the labels of this shard."""
    shards = label_shards(xp)
    return own if shards is None else shards.psum(own)


def label_max(x: Any, where: Any = None) -> Any:
    """Largest entry over the labels; -inf where there is none."""
    xp = namespace(x=x)
    x = x if where is None else xp.where(where, x, -math.inf)
    if shape_of(x)[-1] == 0:
        return label_sum(x) - math.inf
    shards = label_shards(xp)
    return xp.max(x, axis=-1) if shards is None else shards.pmax(x, -1)


def label_count(mask: Any, like: Any) -> Any:
    """Number of True entries over the labels, in the dtype of `like`."""
    xp = namespace(mask=mask)
    return _psum_labels(xp, xp.sum(xp.astype(mask, like.dtype), axis=-1))


def label_running_count(mask: Any) -> Any:
    """Number of True entries among the labels up to and with each one, as integers."""
    xp = namespace(mask=mask)
    whole = labels_together(mask)
    counts = xp.cumulative_sum(xp.astype(whole, default_integer(xp)), axis=-1)
    shards = label_shards(xp)
    if shards is not None:
        return counts + shards.exclusive_sum(counts[..., -1])[..., None]
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.split_like(counts, mask)
    return counts


def label_any(mask: Any) -> Any:
    """Whether any entry over the labels is True."""
    xp = namespace(mask=mask)
    own = xp.any(mask, axis=-1)
    return own if label_shards(xp) is None else _psum_labels(xp, xp.astype(own, xp.int32)) > 0


def num_labels(like: Any) -> int:
    """L of `like` `[..., L]`, of which only a shard may be here."""
    shards, width = label_shards(namespace(like=like)), shape_of(like)[-1]
    return width if shards is None else shards.global_size(width)


def log_softmax(x: Any, where: Any = None) -> Any:
    """`x - log Σ e^x` over the labels; -inf at -inf and where `where` is False.

    Labels at +inf share the probability and get no gradient; all others are then -inf.
    """
    xp = namespace(x=x)
    x = x if where is None else xp.where(where, x, -math.inf)
    peak = label_max(stop_gradient(x))[..., None]
    peak = xp.where(peak == -math.inf, 0.0, peak)
    tied = (x == peak) & xp.isinf(peak)
    shifted = xp.where(tied, 0.0, xp.where(tied, 0.0, x) - peak)
    total = label_sum(xp.exp(shifted))[..., None]
    return shifted - xp.log(xp.where(total == 0, 1.0, total))


def label_indices(like: Any) -> Any:
    """0..L-1, shaped to compare with `like` `[..., L]`."""
    xp = namespace(like=like)
    numbers = xp.arange(shape_of(like)[-1], device=device_of(like))
    shards = label_shards(xp)
    if shards is not None:
        numbers = numbers + xp.astype(shards.offset(shape_of(like)[-1]), numbers.dtype)
    numbers = xp.reshape(numbers, (1,) * (like.ndim - 1) + (-1,))
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.labels_alike(numbers, like)
    return numbers


def labels_together(x: Any) -> Any:
    """`x` with all its labels on each device of a mesh with explicit axes, to sort or cut them."""
    if is_jax_namespace(namespace(x=x)):
        from mlc_losses._array import jax_rows

        return jax_rows.labels_together(x)
    return x


def at_class(x: Any, ids: Any) -> Any:
    """The entry of `x` `[..., L]` at the class of each row, `[...]`; ids must be in range."""
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return x.gather(-1, in_range(xp, ids, x)[..., None])[..., 0]
    if xp.isdtype(x.dtype, "bool"):
        return label_any(is_class(x, ids) & x)
    return label_sum(x, is_class(x, ids))


def of_class(weights: Any, ids: Any) -> Any:
    """The entry of `weights` `[L]` for each class id `[...]`; ids must be in range."""
    xp = namespace(weights=weights)
    if label_shards(xp) is not None:
        rows = xp.broadcast_to(weights, (*shape_of(ids), *shape_of(weights)))
        return at_class(rows, ids)
    return looked_up(weights, in_range(xp, ids, weights))


def looked_up(table: Any, places: Any) -> Any:
    """The entries of the `table` `[W]`, all of which is here, at the places `[...]`."""
    xp = namespace(table=table)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.looked_up(table, places)
    return xp.reshape(xp.take(table, xp.reshape(places, (-1,)), axis=0), shape_of(places))


def columns(value: Any, x: Any, width: int) -> Any:
    """`[..., width]`, everywhere the value, to be concatenated with `x` `[..., W]`."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.columns(value, x, width)
    return xp.full((*shape_of(x)[:-1], width), value, dtype=x.dtype, device=device_of(x))


def replaced_at_class(x: Any, ids: Any, value: float, *, in_place: bool = False) -> Any:
    """`x` with that number in place of the entry at the class of each row; ids must be in range.

    `in_place` where XLA may write into `x`, as nothing else reads it: less than a choice per entry.
    """
    xp = namespace(x=x)
    if is_torch_namespace(xp):
        return x.scatter(-1, in_range(xp, ids, x)[..., None], value)
    if in_place and is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(
            lambda row, id: row.at[id].set(value, mode="promise_in_bounds"), x, ids[..., None]
        )
    return xp.where(is_class(x, ids), value, x)


def is_class(like: Any, ids: Any) -> Any:
    """Bool `[..., L]`, True at the class of each row."""
    return ids[..., None] == label_indices(like)


def in_range(xp: Any, ids: Any, x: Any) -> Any:
    """The ids, each out of range replaced by the nearest in range, so that a lookup is no error."""
    return xp.clip(ids, 0, max(shape_of(x)[-1] - 1, 0))


def top_k(x: Any, k: int, /, *, axis: int = -1, mode: str = "largest") -> TopK:
    """The k largest (or smallest) entries along `axis`, in the coming standard's form.

    The order of the results, and which of tied entries are taken, is the backend's own. Over a
    label axis in parts, of which k labels of each are looked at, the indices count all labels.
    """
    xp = namespace(x=x)
    shards = label_shards(xp)
    if shards is not None:
        return _top_k_of_shards(shards, x, k, 1 if mode == "largest" else -1)
    if hasattr(xp, "top_k"):
        return TopK(*xp.top_k(x, k, axis=axis, mode=mode))
    if is_torch_namespace(xp):
        return TopK(*xp.topk(x, k, dim=axis, largest=mode == "largest"))
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        sign = 1 if mode == "largest" else -1
        values, indices = jax_rows.top_k(sign * x, k)
        return TopK(sign * values, indices)
    order = xp.argsort(x, axis=axis, descending=mode == "largest", stable=True)
    first = [slice(None)] * x.ndim
    first[axis] = slice(k)
    indices = order[tuple(first)]
    return TopK(xp.take_along_axis(x, indices, axis=axis), indices)


def _top_k_of_shards(shards: Any, x: Any, k: int, sign: int) -> TopK:
    import jax

    width = shape_of(x)[-1]
    values, places = jax.lax.top_k(sign * x, min(k, width))
    numbers = places + shards.offset(width).astype(places.dtype)
    values, indices = shards.top_k(values, numbers, k)
    return TopK(sign * values, indices)


def top_k_sum(values: Any) -> Any:
    """Sum over the k entries `[..., k]` that `top_k` has found; they are never split."""
    return namespace(values=values).sum(values, axis=-1)


def top_k_min(values: Any) -> Any:
    """The least of the k entries, the k-th largest."""
    return namespace(values=values).min(values, axis=-1)


def top_k_any(mask: Any) -> Any:
    """Whether any of the k entries is True."""
    return namespace(mask=mask).any(mask, axis=-1)


def padded(ids: Any, padding: int, length: int) -> Any:
    """The ids `[..., P]`, cut or padded to `[..., length]`."""
    xp = namespace(ids=ids)
    have = shape_of(ids)[-1]
    if have >= length:
        return ids[..., :length]
    return xp.concat([ids, columns(padding, ids, length - have)], axis=-1)


def label_order(*keys: Any) -> Any:
    """Ids by ascending key `[..., L]`; of equal keys by the next one, then by id."""
    xp = namespace(keys=keys[0])
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.by_rows(lambda *rows: xp.lexsort(rows[::-1]), *keys)
    order = None
    for key in reversed(keys):
        key = xp.astype(key, xp.int8) if xp.isdtype(key.dtype, "bool") else key
        then = xp.argsort(key if order is None else entries_at(key, order), axis=-1, stable=True)
        order = then if order is None else entries_at(order, then)
    return order
