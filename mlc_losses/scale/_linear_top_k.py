"""The best labels of a linear layer, a block of labels at a time, on JAX; imported when used."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses.scale._linear import budget, wide
from mlc_losses.scale._rows import labels_within


@partial(jax.jit, static_argnames=("k", "label_block"))
def top_k_by_blocks(
    features: Any, kernel: Any, bias: Any, k: int, label_block: int | None
) -> tuple[Any, Any]:
    """Ids and scores `[N, k]`: what has been found stands before a new block, and wins ties."""
    num_rows, num_labels = features.shape[0], kernel.shape[1]
    size = label_block or labels_within(budget(), num_rows)
    size = min(max(size, k), num_labels)

    def block(start: Any, length: int) -> tuple[Any, Any]:
        part = lax.dynamic_slice_in_dim(kernel, start, length, axis=1)
        scores = jnp.matmul(features, part, preferred_element_type=wide(kernel.dtype))
        if bias is not None:
            offset = lax.dynamic_slice_in_dim(bias, start, length)
            scores = scores + offset.astype(scores.dtype)[None, :]
        ids = (start + jnp.arange(length)).astype(jnp.int32)
        return jnp.broadcast_to(ids[None, :], scores.shape), scores

    def best(ids: Any, scores: Any) -> tuple[Any, Any]:
        scores, places = lax.top_k(scores, k)
        return jnp.take_along_axis(ids, places, axis=1), scores

    def merged(found: Any, more: Any) -> tuple[Any, Any]:
        return best(*(jnp.concat(pair, axis=1) for pair in zip(found, more, strict=True)))

    found = best(*block(0, size))
    whole = num_labels // size
    found = lax.fori_loop(
        1, whole, lambda index, found: merged(found, block(index * size, size)), found
    )
    rest = num_labels - whole * size
    return merged(found, block(whole * size, rest)) if rest else found
