"""What sorts, selects or scatters the labels of an example, on arrays split over a mesh.

XLA's partitioner gathers whatever it cannot cut into rows. So each function here is one of a
single row, mapped over the examples, which says that rows are independent. Labels that a mesh with
explicit axes has split are brought together first, as the partitioner does of itself where axes
are not explicit. Imported only when used.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.custom_batching import custom_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import NamedSharding, PartitionSpec

from mlc_losses._array.jax_axes import varying_like


def by_rows(function: Callable[..., Any], *arrays: Any) -> Any:
    """`function` of the rows `[W]` of arrays `[..., W]`, which agree in all other axes."""
    rows = _rows_like(*arrays)
    for _ in range(arrays[0].ndim - 1):
        function = jax.vmap(function)
    return function(*(_resharded(x, rows) for x in arrays))


def labels_together(x: Any) -> Any:
    """`x` with all its labels on every device."""
    return _resharded(x, _rows_like(x))


def split_like(x: Any, like: Any) -> Any:
    """`x` split over devices as `like`, which is of its shape."""
    return _resharded(x, jax.typeof(like).sharding)


def labels_alike(x: Any, like: Any) -> Any:
    """`x` `[1, ..., L]` with its labels split over devices as those of `like`."""
    sharding = jax.typeof(like).sharding
    return _resharded(x, _sharding(sharding.mesh, *[None] * (x.ndim - 1), sharding.spec[-1]))


def rows_together(x: Any) -> Any:
    """`x` `[n, ...]` with all its rows on every device."""
    sharding = jax.typeof(x).sharding
    return _resharded(x, _sharding(sharding.mesh, None, *sharding.spec[1:]))


def rows_alike(x: Any, like: Any) -> Any:
    """`x` `[n, ...]` with its rows, and nothing else, split as those of `like`."""
    sharding = jax.typeof(like).sharding
    rest = [None] * (x.ndim - 1)
    return _resharded(x, _sharding(sharding.mesh, sharding.spec[0], *rest))


def columns(value: Any, x: Any, width: int) -> Any:
    """`[..., width]`, everywhere the value, to be concatenated with `x` `[..., W]`."""
    new = jnp.full((*x.shape[:-1], width), value, x.dtype)
    return varying_like(_resharded(new, _rows_like(x)), x)


def looked_up(table: Any, places: Any) -> Any:
    """The entries of the `table` `[W]` at the places `[...]`, split over devices as these are."""
    table, sharding = labels_together(table), jax.typeof(places).sharding
    if any(sharding.spec):
        return table.at[places].get(out_sharding=sharding)
    return jnp.take(table, places, axis=0)


def top_k(x: Any, k: int) -> tuple[Any, Any]:
    """`lax.top_k` over the labels: rows alone are not enough to say that it may be cut."""
    x = labels_together(x)
    if jax.device_count() == 1 or jax.sharding.get_abstract_mesh().manual_axes:
        return tuple(lax.top_k(x, k))
    return _top_k(k, x)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _top_k(k: int, x: Any) -> tuple[Any, Any]:
    return _selection(k)(x)


@_top_k.defjvp
def _top_k_jvp(k: int, primals: Any, tangents: Any) -> Any:
    values, numbers = _top_k(k, *primals)
    moved = jnp.take_along_axis(tangents[0], numbers, axis=-1)
    return (values, numbers), (moved, np.zeros(numbers.shape, jax.dtypes.float0))


@cache
def _selection(k: int) -> Callable[..., Any]:
    """`lax.top_k` with a rule for the partitioner; under `vmap` it has an axis more."""

    def select(x: Any) -> tuple[Any, Any]:
        return tuple(lax.top_k(x, k))

    def split_by_rows(mesh: Any, arguments: Any, results: Any) -> Any:
        (x,) = arguments
        spec = (*x.sharding.spec, *[None] * x.ndim)[: x.ndim - 1]
        rows = NamedSharding(mesh, PartitionSpec(*spec, None))
        return mesh, select, (rows, rows), (rows,)

    split = custom_partitioning(select)
    split.def_partition(
        partition=split_by_rows,
        infer_sharding_from_operands=lambda *known: split_by_rows(*known)[2],
        sharding_rule="... l -> ... k, ... k",
        need_replication_factors=("l", "k"),
    )
    mapped = custom_vmap(lambda x: tuple(split(x)))
    mapped.def_vmap(lambda size, batched, x: (mapped(x), (True, True)))
    return mapped


def _rows_like(*arrays: Any) -> Any:
    """The sharding of whole rows, where a mesh with explicit axes splits the examples of any."""
    shardings = [jax.typeof(x).sharding for x in arrays]
    split = [sharding for sharding in shardings if any(sharding.spec)]
    if not split:
        return shardings[0]
    batch = zip(*(sharding.spec[:-1] for sharding in split), strict=True)
    return _sharding(split[0].mesh, *(next(filter(None, axes), None) for axes in batch), None)


def _sharding(mesh: Any, *axes: Any) -> Any:
    return NamedSharding(mesh, PartitionSpec(*axes))


def _resharded(x: Any, sharding: Any) -> Any:
    known = jax.typeof(x).sharding
    return x if known.spec == sharding.spec else jax.sharding.reshard(x, sharding)
