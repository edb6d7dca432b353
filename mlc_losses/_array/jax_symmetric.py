"""Ratios of elementary symmetric polynomials on JAX; imported only when a JAX array comes in."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax import numpy as jnp

from mlc_losses._array.jax_axes import varying_like

# labels that the reverse pass computes anew at a time, from the state kept before them
_BLOCK = 32
# the logarithm of a sum over no set at all; more than k of them can be added in float32
_NONE = -1e30


def ratio_by_scan(weights: Any, k: int, parts: Any = None) -> Any:
    """`σ_k / σ_{k-1}` of positive weights, label by label over a state of k ratios.

    One more entry e makes `r_m = σ_m / σ_{m-1}` into `(r_m + e) r_{m-1} / (r_{m-1} + e)`. On a CPU
    this is four times as fast as k cumulative sums, and the reverse pass keeps one state per block
    of labels instead of k arrays of the size of the scores. Of labels in parts, each part has its
    own k ratios.
    """
    *batch, labels = weights.shape
    entries = weights.reshape(-1, labels).T
    ratios = varying_like(jnp.zeros((k, entries.shape[1]), weights.dtype), entries)
    cut = labels - labels % _BLOCK
    if cut:
        blocks = entries[:cut].reshape(-1, _BLOCK, entries.shape[1])
        ratios, _ = lax.scan(_add_block, ratios, blocks)
    if cut < labels:
        ratios, _ = _add_block(ratios, entries[cut:])
    if parts is None:
        return ratios[-1].reshape(batch)
    return _ratio_of_all(parts.each(ratios)).reshape(batch)


@jax.checkpoint
def _add_block(ratios: Any, entries: Any) -> tuple[Any, None]:
    return lax.scan(_add_entry, ratios, entries)[0], None


def _add_entry(ratios: Any, entry: Any) -> tuple[Any, None]:
    entry = entry[None, :]
    kept = ratios[:-1] / (ratios[:-1] + entry)
    return (ratios + entry) * jnp.concat([jnp.ones_like(entry), kept]), None


def _ratio_of_all(ratios: Any) -> Any:
    """`σ_k / σ_{k-1}` `[N]` of the labels of all parts, from their ratios `[parts, k, N]`."""
    # a set of m labels has i of one part and m - i of the others
    logs = jnp.cumsum(jnp.where(ratios > 0, jnp.log(jnp.where(ratios > 0, ratios, 1.0)), _NONE), 1)
    logs = jnp.concat([jnp.zeros_like(logs[:, :1]), logs], axis=1)
    size = logs.shape[1]
    rest = jnp.arange(size)[:, None] - jnp.arange(size)[None, :]
    pairs = (rest >= 0)[:, :, None]

    def add_part(total: Any, part: Any) -> tuple[Any, None]:
        terms = jnp.where(pairs, total[None, :, :] + part[jnp.maximum(rest, 0)], _NONE)
        return jax.nn.logsumexp(terms, axis=1), None

    total, _ = lax.scan(add_part, logs[0], logs[1:])
    return jnp.exp(total[-1] - total[-2])
