"""Vectors of length 1, whose products are cosines."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def unit(x: jax.Array, axis: int) -> jax.Array:
    """`x` over its length; 0 stays 0 and has no gradient: hidden layers are dead for some rows."""
    square = jnp.sum(x * x, axis, keepdims=True)
    zero = square == 0
    return jnp.where(zero, 0.0, x * jax.lax.rsqrt(jnp.where(zero, 1.0, square)))
