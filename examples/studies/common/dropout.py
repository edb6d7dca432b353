"""Dropout whose random numbers cost little: drawing them is a large part of a small network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

STEPS = 2**16  # values of the 16 bits


def dropped(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """`x` with a share of its cells set to 0, and the others larger so that the mean stays.

    16 bits decide about each cell, so the share is that of `rate` but for 1/65536. A draw of
    `jax.random.bernoulli` uses four times as many random numbers.
    """
    if rate == 0.0:
        return x
    words = threefry_2x32(jax.random.key_data(key), jnp.arange(-(-x.size // 2), dtype=jnp.uint32))
    halves = jnp.concatenate([words & (STEPS - 1), words >> 16])[: x.size].reshape(x.shape)
    return jnp.where(halves >= round(rate * STEPS), x / (1.0 - rate), 0.0)
