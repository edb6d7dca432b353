"""The k-th largest label of each example, by the fastest exact way.

On XLA's CPU backend `lax.top_k` is fast in float32, slow for few labels, and a full sort, 60 to
130 times slower, as soon as only its last column is used: that slice is fused into the sort, which
is then no longer recognised. Hence the barrier, and the two other ways.
"""

from __future__ import annotations

from typing import Any

from mlc_losses._array.backend import is_jax_namespace, is_numpy_namespace
from mlc_losses._array.labels import TopK, label_indices, label_max, top_k
from mlc_losses._array.layout import label_shards
from mlc_losses._array.namespace import namespace, shape_of
from mlc_losses._array.ops import entries_at

# with fewer labels than this, one pass per rank is faster than `lax.top_k`
_FEW_LABELS = 512
# with at least so many, and at most so high a rank, the maxima of blocks are looked at first
_MANY_LABELS = 1000
_LOW_RANK = 25
_BLOCKS = (16, 8, 10)


def k_largest(x: Any, k: int, *, only_last: bool) -> TopK:
    """The k largest entries over the labels, `[..., k]`, or the k-th alone, `[..., 1]`.

    The entries must be numbers or infinite. Which of tied entries is taken is left open.
    """
    xp = namespace(x=x)
    shards = label_shards(xp)
    if shards is not None:
        found = top_k(x, k)
        return TopK(*(y[..., -1:] for y in found)) if only_last else found
    if is_jax_namespace(xp):
        return _kth_on_jax(x, k) if only_last else _top_k_on_jax(x, k)
    if is_numpy_namespace(xp):
        num_labels = shape_of(x)[-1]
        first = num_labels - k
        indices = xp.argpartition(x, first, axis=-1)
        indices = indices[..., first : first + 1] if only_last else indices[..., first:]
        return TopK(entries_at(x, indices), indices)
    found = top_k(x, k)
    return TopK(found.values[..., -1:], found.indices[..., -1:]) if only_last else found


def _top_k_on_jax(x: Any, k: int) -> TopK:
    import jax

    from mlc_losses._array import jax_rows

    # each on its own: a barrier of both ends XLA's CPU compiler over several devices, in float64
    return TopK(*map(jax.lax.optimization_barrier, jax_rows.top_k(x, k)))


def _kth_on_jax(x: Any, k: int) -> TopK:
    import jax

    num_labels = shape_of(x)[-1]
    # x is read several times: what it was made from must not be computed again in each pass
    x = jax.lax.optimization_barrier(x)
    if num_labels < _FEW_LABELS:
        return _kth_by_passes(x, k)
    if num_labels >= _MANY_LABELS and k <= _LOW_RANK:
        for size in _BLOCKS:
            if num_labels % size == 0 and k <= num_labels // size:
                return _kth_by_blocks(x, k, size)
    values, indices = _top_k_on_jax(x, k)
    return TopK(values[..., -1:], indices[..., -1:])


def _kth_by_passes(x: Any, k: int) -> TopK:
    """Down the distinct values, one pass each, until k entries are at or above the value."""
    import jax

    xp = namespace(x=x)
    num_labels = shape_of(x)[-1]

    def next_value(_: int, state: Any) -> Any:
        value, count = state
        lower = label_max(x, x < value[..., None])
        more = xp.sum(xp.astype(x == lower[..., None], xp.int32), axis=-1, dtype=xp.int32)
        go_on = count < k
        return xp.where(go_on, lower, value), xp.where(go_on, count + more, count)

    value = label_max(x)
    count = xp.sum(xp.astype(x == value[..., None], xp.int32), axis=-1, dtype=xp.int32)
    value, _ = jax.lax.fori_loop(1, k, next_value, (value, count), unroll=k <= 32)
    places = xp.where(x == value[..., None], label_indices(x), num_labels)
    return TopK(value[..., None], xp.min(places, axis=-1)[..., None])


def _kth_by_blocks(x: Any, k: int, size: int) -> TopK:
    """The k largest entries lie in the k blocks with the largest maxima.

    A block is `size` labels that are `L / size` apart, so that its maximum is taken over an outer
    axis, and vectorises.
    """
    xp = namespace(x=x)
    *batch, num_labels = shape_of(x)
    blocks = xp.reshape(x, (*batch, size, num_labels // size))
    _, best = _top_k_on_jax(xp.max(blocks, axis=-2), k)
    offsets = (num_labels // size) * xp.arange(size, dtype=best.dtype)
    offsets = xp.reshape(offsets, (1,) * len(batch) + (size, 1))
    members = xp.reshape(best[..., None, :] + offsets, (*batch, size * k))
    values, places = _top_k_on_jax(entries_at(x, members), k)
    return TopK(values[..., -1:], entries_at(members, places[..., -1:]))
