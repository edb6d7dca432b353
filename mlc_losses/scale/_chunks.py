"""The labels of a linear layer a few at a time, on JAX; imported when used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# bytes of a part of the kernel: on a CPU it is to stay in a core's own cache while the products
# with it are computed and added up
_CPU_BYTES = 2**19
_ACCELERATOR_BYTES = 2**26
_LEAST_LABELS = 128


class Chunk(NamedTuple):
    """A few labels, in arrays whose last axis is the labels."""

    start: Any
    fresh: Any  # bool, which of them no earlier chunk has had

    def of(self, x: Any) -> Any:
        return lax.dynamic_slice_in_dim(x, self.start, self.fresh.shape[0], axis=-1)

    def replaced(self, x: Any, new: Any) -> Any:
        return lax.dynamic_update_slice_in_dim(x, new, self.start, axis=-1)


def by_chunks(step: Callable[[Chunk, Any], Any], kernel: Any, state: Any) -> Any:
    """The state after `step(chunk, state)` for all labels of the kernel `[D, L]`, in a loop.

    The last chunk is as wide as the others, and so may begin with labels of the one before.
    """
    dim, num_labels = kernel.shape
    if num_labels == 0:
        return state
    size = min(_labels_within(dim), num_labels)

    def take(index: Any, state: Any) -> Any:
        start = jnp.minimum(index * size, num_labels - size)
        return step(Chunk(start, start + jnp.arange(size) >= index * size), state)

    return lax.fori_loop(0, -(-num_labels // size), take, state)


def _labels_within(dim: int) -> int:
    size = _CPU_BYTES if jax.default_backend() == "cpu" else _ACCELERATOR_BYTES
    return max(_LEAST_LABELS, size // (4 * max(dim, 1)))
