"""Reductions over the batch axis, which is the first one here, for losses across the batch."""

from __future__ import annotations

import math
from typing import Any

from mlc_losses._array.backend import is_jax_namespace
from mlc_losses._array.layout import batch_shards
from mlc_losses._array.namespace import device_of, namespace, shape_of


def batch_sum(x: Any) -> Any:
    """Sum over the examples."""
    xp = namespace(x=x)
    return _psum_batch(xp, xp.sum(x, axis=0))


def _psum_batch(xp: Any, own: Any) -> Any:
    """The sum over all examples, from that over the examples of this shard."""
    shards = batch_shards(xp)
    return own if shards is None else shards.psum(own)


def batch_max(x: Any) -> Any:
    """Largest entry over the examples; -inf where there is none."""
    if shape_of(x)[0] == 0:
        return batch_sum(x) - math.inf
    xp = namespace(x=x)
    shards = batch_shards(xp)
    return xp.max(x, axis=0) if shards is None else shards.pmax(x, 0)


def batch_any(mask: Any) -> Any:
    """Whether any entry over the examples is True."""
    xp = namespace(mask=mask)
    own = xp.any(mask, axis=0)
    return own if batch_shards(xp) is None else _psum_batch(xp, xp.astype(own, xp.int32)) > 0


def batch_size(x: Any) -> int:
    """How many examples there are, a static number."""
    shards, own = batch_shards(namespace(x=x)), shape_of(x)[0]
    return own if shards is None else shards.global_size(own)


def batch_before(counts: Any) -> Any:
    """For each example the sum of the counts `[n]` of all examples before it."""
    xp = namespace(counts=counts)
    if not is_jax_namespace(xp):
        return xp.cumulative_sum(counts, axis=0) - counts
    shards = batch_shards(xp)
    if shards is not None:
        return (
            xp.cumulative_sum(counts, axis=0)
            - counts
            + shards.exclusive_sum(xp.sum(counts, axis=0))
        )
    from mlc_losses._array import jax_rows

    everywhere = jax_rows.rows_together(counts)
    return jax_rows.rows_alike(xp.cumulative_sum(everywhere, axis=0) - everywhere, counts)


def whole_batch(x: Any) -> Any:
    """The rows of all examples of the batch, of which `x` holds those that are here."""
    xp = namespace(x=x)
    shards = batch_shards(xp)
    if shards is not None:
        return shards.gather_rows(x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        return jax_rows.rows_together(x)
    return x


def rows_and_more(x: Any, more: Any) -> Any:
    """The rows of `x`, then the rows `more`, which every device has."""
    xp = namespace(x=x)
    if is_jax_namespace(xp):
        from mlc_losses._array import jax_rows

        x = jax_rows.rows_together(x)
    return xp.concat([x, more])


def row_indices(x: Any) -> Any:
    """The places of the rows of `x` in the whole batch."""
    xp = namespace(x=x)
    numbers = xp.arange(shape_of(x)[0], device=device_of(x))
    shards = batch_shards(xp)
    if shards is None:
        return numbers
    return numbers + xp.astype(xp.asarray(shards.offset(shape_of(x)[0])), numbers.dtype)
