"""Dropout with few random numbers: drawing them takes a large part of a small network's time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32

NUM_VALUES = 2**16  # of 16 random bits


def dropped(x: jax.Array, rate: float, key: jax.Array) -> jax.Array:
    """`x` with a share of its cells set to 0, and the others larger so that the mean stays.

    16 random bits decide about each cell, so the share is `rate` up to 1/65536.
    `jax.random.bernoulli` draws four times as many random numbers.
    """
    if rate == 0.0:
        return x
    words = threefry_2x32(jax.random.key_data(key), jnp.arange(-(-x.size // 2), dtype=jnp.uint32))
    values = jnp.concatenate([words & (NUM_VALUES - 1), words >> 16])[: x.size].reshape(x.shape)
    return jnp.where(values >= round(rate * NUM_VALUES), x / (1.0 - rate), 0.0)
