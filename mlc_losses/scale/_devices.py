"""An axis split over devices, by collectives under `jax.shard_map`; imported only when used."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.jax_axes import varying_axes


class Devices(NamedTuple):
    """The `ShardedAxis` of an axis that is split over mesh axes, the first one outermost."""

    axes: tuple[str, ...]

    @property
    def allows_custom_gradient(self) -> bool:
        return True

    def psum(self, x: Any) -> Any:
        return lax.psum(x, self.axes)

    def pmax(self, x: Any, axis: int) -> Any:
        return _max(self, axis, x)

    def top_k(self, values: Any, indices: Any, k: int) -> tuple[Any, Any]:
        """Gathers k candidates per device; of ties the lower indices come first."""
        best, places = lax.top_k(self._candidates(values), k)
        return best, jnp.take_along_axis(self._candidates(indices), places, axis=-1)

    def exclusive_sum(self, x: Any) -> Any:
        found = self.all_gather(x)
        earlier = jnp.arange(lax.axis_size(self.axes), dtype=jnp.int32) < lax.axis_index(self.axes)
        return jnp.where(earlier.reshape(-1, *[1] * x.ndim), found, 0).sum(axis=0)

    def all_gather(self, x: Any) -> Any:
        """Known to be the same on all devices, which an all-gather is not."""
        size = int(lax.axis_size(self.axes))
        own = jnp.arange(size, dtype=jnp.int32) == lax.axis_index(self.axes)
        return lax.psum(jnp.where(own.reshape(-1, *[1] * x.ndim), x[None], 0), self.axes)

    def gather_rows(self, x: Any) -> Any:
        if not set(self.axes) & varying_axes(x):
            return x  # the same on every device: it was not split
        return lax.all_gather(x, self.axes, axis=0, tiled=True)

    def local_slice(self, x: Any, width: int) -> Any:
        return x

    def offset(self, width: int) -> Any:
        return lax.axis_index(self.axes) * width

    def global_size(self, width: int) -> int:
        return int(lax.axis_size(self.axes)) * width

    def _candidates(self, x: Any) -> Any:
        found = jnp.moveaxis(self.all_gather(x), 0, -2)
        return found.reshape(*x.shape[:-1], -1)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _max(devices: Devices, axis: int, x: Any) -> Any:
    return lax.pmax(x.max(axis=axis), devices.axes)


@_max.defjvp
def _max_jvp(devices: Devices, axis: int, primals: Any, tangents: Any) -> Any:
    """Entries that tie share the derivative, on whatever device they are."""
    (x,), (dot,) = primals, tangents
    top = _max(devices, axis, x)
    tied = x == jnp.expand_dims(top, axis)
    moved = devices.psum(jnp.where(tied, dot, 0.0).sum(axis=axis))
    return top, moved / devices.psum(tied.astype(x.dtype).sum(axis=axis))
