"""A label axis seen block by block: a loss is run again for each of its label reductions.

On a block of labels a loss is run up to its first reduction, which stops it: `Found` carries what
this block adds. Once all blocks have been through, and the result is known, it is run up to the
second one, and so on to its end. Imported only when used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.layout import NeedsWholeAxisError


class Found(Exception):
    """The first reduction that is not known yet: what this block has, how to add and to begin."""

    def __init__(self, value: Any, combine: Callable[..., Any], start: float) -> None:
        super().__init__()
        self.value, self.combine, self.start = value, combine, start


class Ranked(NamedTuple):
    """Candidates for the k largest, `[..., k]`."""

    values: Any
    numbers: Any


class Blocks:
    """The `ShardedAxis` of the labels inside one block; its first label has the index `offset`."""

    # a gradient rule would be a trace of its own, which `Found` could not leave
    allows_custom_gradient = False

    def __init__(self, known: list[Any], offset: Any, num_labels: int) -> None:
        self.known, self.first, self.num_labels = iter(known), offset, num_labels

    def _reduced(self, value: Any, combine: Callable[..., Any], start: float) -> Any:
        for result in self.known:
            return result
        raise Found(value, combine, start)

    def psum(self, x: Any) -> Any:
        return self._reduced(x, jnp.add, 0.0)

    def max_no_grad(self, x: Any) -> Any:
        return self._reduced(lax.stop_gradient(x), jnp.maximum, -jnp.inf)

    def pmax(self, x: Any, axis: int) -> Any:
        return self._reduced(x.max(axis=axis), jnp.maximum, -jnp.inf)

    def top_k(self, values: Any, numbers: Any, k: int) -> tuple[Any, Any]:
        def best(known: Ranked, more: Ranked) -> Ranked:
            both = Ranked(*(jnp.concat(pair, axis=-1) for pair in zip(known, more, strict=True)))
            values, places = lax.top_k(both.values, k)
            return Ranked(values, jnp.take_along_axis(both.numbers, places, axis=-1))

        missing = [(0, 0)] * (values.ndim - 1) + [(0, k - values.shape[-1])]
        own = Ranked(jnp.pad(values, missing, constant_values=-jnp.inf), jnp.pad(numbers, missing))
        return self._reduced(own, best, -jnp.inf)

    def exclusive_sum(self, x: Any) -> Any:
        raise NeedsWholeAxisError("counts along all the labels of an example")

    def gather_rows(self, x: Any) -> Any:
        raise NeedsWholeAxisError("asks for the rows of all labels")

    def local_slice(self, x: Any, width: int) -> Any:
        if x.shape[-1] != self.num_labels:
            return x
        return lax.dynamic_slice_in_dim(x, self.first, width, axis=-1)

    def offset(self, width: int) -> Any:
        return self.first

    def global_size(self, width: int) -> int:
        return self.num_labels


def begin(found: Any, start: float) -> Any:
    """What no block at all would have found, of this shape."""

    def of(x: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.floating):
            return jnp.full(x.shape, start, x.dtype)
        return jnp.zeros(x.shape, x.dtype)

    return jax.tree.map(of, found)
