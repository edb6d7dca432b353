"""The gradient rule of sums over sets of labels on JAX; imported only when a JAX array comes in."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from mlc_losses._array import symmetric
from mlc_losses._array.axis import Layout, current_layout, laid_out
from mlc_losses._array.labels import label_sum


def log_ratio(logits: Any, front: Any, k: int) -> Any:
    return _log_ratio(current_layout(), k, logits, front)


@partial(jax.jit, static_argnums=(0, 1))
def _log_ratio(layout: Layout, k: int, logits: Any, front: Any) -> Any:
    with laid_out(layout):
        factor = symmetric.factor(jax.lax.stop_gradient(logits), k)
    return _of_factor(layout, k, logits, front, factor)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _of_factor(layout: Layout, k: int, logits: Any, front: Any, factor: Any) -> Any:
    with laid_out(layout):
        return symmetric.log_ratio(logits, front, factor, k=k)


@_of_factor.defjvp
def _jvp(layout: Layout, k: int, primals: Any, tangents: Any) -> Any:
    with laid_out(layout):
        value, slopes = symmetric.log_ratio_and_slopes(*primals, k=k)
        return value, label_sum(slopes * tangents[0])
