"""Elementwise primitives on JAX, with derivatives of their own; imported when an array comes in.

The values are made of arithmetic alone: XLA's CPU backend fuses a sum over labels with all of it,
but writes down every `where` first.
"""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax import numpy as jnp


@jax.custom_jvp
def softplus(x: Any) -> Any:
    return jnp.maximum(x, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals: Any, tangents: Any) -> Any:
    return softplus(*primals), sigmoid(*primals) * tangents[0]


@jax.custom_jvp
def sigmoid(x: Any) -> Any:
    return lax.logistic(x)


@sigmoid.defjvp
def _sigmoid_jvp(primals: Any, tangents: Any) -> Any:
    (x,) = primals
    p = sigmoid(x)
    # not 1 - p, which has lost its digits where p is near 1
    return p, p * sigmoid(-x) * tangents[0]
