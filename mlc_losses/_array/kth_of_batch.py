"""The largest scores of a whole batch `[n, L]`, by a selection where the backend has one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mlc_losses._array.backend import is_jax_namespace, is_numpy_namespace, is_torch_namespace
from mlc_losses._array.batch import batch_sum
from mlc_losses._array.labels import label_sum
from mlc_losses._array.loops import one_program
from mlc_losses._array.namespace import device_of, is_0, is_number, namespace, shape_of
from mlc_losses._array.ops import stop_gradient


def kth_largest(x: Any, rank: Any) -> Any:
    """The entry of that rank, 1 for the largest, over all of `x` `[n, L]`: exactly a value of it.

    inf for the rank 0. The entries must be numbers. The rank is an integer or an array of one.
    """
    xp = namespace(x=x)
    x = stop_gradient(x)
    if is_0(rank):
        return xp.asarray(math.inf, dtype=x.dtype, device=device_of(x))
    if is_jax_namespace(xp):
        found = _kth_largest_by_bits(x, rank)
        return found if is_number(rank) else xp.where(rank == 0, math.inf, found)
    flat = xp.reshape(x, (-1,))
    if not is_number(rank):  # a tensor that cannot be looked at
        falling = xp.sort(flat, descending=True)
        place = xp.reshape(xp.clip(rank - 1, 0, None), (1,))
        return xp.where(rank == 0, math.inf, xp.take(falling, place)[0])
    place = shape_of(flat)[0] - rank
    if is_torch_namespace(xp):
        return flat.kthvalue(place + 1).values
    if is_numpy_namespace(xp):
        return np.partition(flat, place)[place]
    return xp.sort(flat)[place]


@one_program
def _kth_largest_by_bits(x: Any, rank: Any) -> Any:
    """Finds the bits of the entry one by one, from the highest, by counting larger entries.

    Only counts are exchanged: a batch split over devices moves one number per bit. Measured on a
    CPU, it is 8 to 15 times faster than a sort, and beyond a rank of a few percent of the entries
    faster than `lax.top_k` too.
    """
    import jax
    import jax.numpy as jnp

    from mlc_losses._array.jax_axes import varying_like

    integer = jnp.int64 if x.dtype == jnp.float64 else jnp.int32
    bits = jnp.iinfo(integer).bits
    lowest = jnp.asarray(jnp.iinfo(integer).min, integer)

    def reordered(pattern: Any) -> Any:
        """Patterns of floats to integers of the same order, and back."""
        return pattern ^ ((pattern >> (bits - 1)) & ~lowest)

    keys = reordered(jax.lax.bitcast_convert_type(x, integer))

    def next_bit(step: Any, found: Any) -> Any:
        # the highest bit is a sign: it is set in the lowest number
        candidate = found ^ (jnp.asarray(1, integer) << (bits - 1 - step).astype(integer))
        reached = batch_sum(label_sum((keys >= candidate).astype(jnp.int32)))
        return jnp.where(reached >= rank, candidate, found)

    # under the user's own shard_map each device has a count of its own
    lowest = varying_like(lowest, next_bit(jnp.asarray(0), lowest))
    found = jax.lax.fori_loop(0, bits, next_bit, lowest)
    return jax.lax.bitcast_convert_type(reordered(found), x.dtype)
