"""A label axis seen block by block: a loss is traced again for each of its label reductions.

Traced on one block, a loss asks `Blocks` for its label reductions, one after the other. Those over
all blocks that are already known are handed to it. The first one that is not is noted, with what
this block contributes; what the loss does after that is not used. Once that reduction has been
computed over all blocks, the loss is traced again up to the next one, and so on to its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.layout import NeedsWholeAxisError


class Request(NamedTuple):
    """A reduction: what this block contributes, how to combine two, and the neutral value."""

    value: Any
    combine: Callable[..., Any]
    start: float


class Ranked(NamedTuple):
    """Candidates for the k largest, `[..., k]`."""

    values: Any
    indices: Any


class Blocks:
    """The `ShardedAxis` of the labels inside one block; its first label has the index `offset`."""

    # a custom gradient is traced apart, and what is noted inside could not be used outside
    allows_custom_gradient = False

    def __init__(self, known: tuple[Any, ...], offset: Any, num_labels: int) -> None:
        self._known, self._offset, self._num_labels = iter(known), offset, num_labels
        self.request: Request | None = None  # the first reduction that is not known

    def _reduced(self, value: Any, combine: Callable[..., Any], start: float) -> Any:
        for result in self._known:
            return result
        if self.request is None:
            self.request = Request(value, combine, start)
        return value  # of the right shape; nothing computed from it is used

    def psum(self, x: Any) -> Any:
        return self._reduced(x, jnp.add, 0.0)

    def pmax(self, x: Any, axis: int) -> Any:
        return self._reduced(x.max(axis=axis), jnp.maximum, -jnp.inf)

    def top_k(self, values: Any, indices: Any, k: int) -> tuple[Any, Any]:
        def best(known: Ranked, more: Ranked) -> Ranked:
            both = Ranked(*(jnp.concat(pair, axis=-1) for pair in zip(known, more, strict=True)))
            values, places = lax.top_k(both.values, k)
            return Ranked(values, jnp.take_along_axis(both.indices, places, axis=-1))

        missing = [(0, 0)] * (values.ndim - 1) + [(0, k - values.shape[-1])]
        own = Ranked(jnp.pad(values, missing, constant_values=-jnp.inf), jnp.pad(indices, missing))
        return self._reduced(own, best, -jnp.inf)

    def exclusive_sum(self, x: Any) -> Any:
        raise NeedsWholeAxisError("counts along all the labels of an example")

    def gather_rows(self, x: Any) -> Any:
        raise NeedsWholeAxisError("asks for the rows of all labels")

    def local_slice(self, x: Any, width: int) -> Any:
        if x.shape[-1] != self._num_labels:
            return x
        return lax.dynamic_slice_in_dim(x, self._offset, width, axis=-1)

    def offset(self, width: int) -> Any:
        return self._offset

    def global_size(self, width: int) -> int:
        return self._num_labels


def neutral(like: Any, start: float) -> Any:
    """The result of a reduction over no block at all."""

    def of(x: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.full(x.shape, start, x.dtype)
        return jnp.zeros(x.shape, x.dtype)

    return jax.tree.map(of, like)
