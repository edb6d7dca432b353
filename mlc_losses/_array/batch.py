"""Reductions over the batch axis, which is the first one here, for losses across the batch."""

from __future__ import annotations

import math
from typing import Any

from array_api_compat import is_jax_namespace

from mlc_losses._array.namespace import namespace, shape_of


def batch_sum(x: Any) -> Any:
    """Sum over the examples."""
    return namespace(x=x).sum(x, axis=0)


def batch_max(x: Any) -> Any:
    """Largest entry over the examples; -inf where there is none."""
    if shape_of(x)[0] == 0:
        return batch_sum(x) - math.inf
    return namespace(x=x).max(x, axis=0)


def batch_any(mask: Any) -> Any:
    """Whether any entry over the examples is True."""
    return namespace(mask=mask).any(mask, axis=0)


def batch_size(x: Any) -> int:
    """How many examples there are, a static number."""
    return shape_of(x)[0]


def batch_before(counts: Any) -> Any:
    """For each example the sum of the counts `[n]` of all examples before it."""
    xp = namespace(counts=counts)
    if not is_jax_namespace(xp):
        return xp.cumulative_sum(counts, axis=0) - counts
    import jax

    split = jax.typeof(counts).sharding
    if any(split.spec):  # explicitly over devices, where a running sum must be asked for
        everywhere = jax.sharding.NamedSharding(split.mesh, jax.sharding.PartitionSpec())
        counts = jax.sharding.reshard(counts, everywhere)
        return jax.sharding.reshard(xp.cumulative_sum(counts, axis=0) - counts, split)
    return xp.cumulative_sum(counts, axis=0) - counts
