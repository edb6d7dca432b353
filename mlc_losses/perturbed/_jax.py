"""The sampled operator on JAX, in blocks of rows and samples; imported only when used.

Which labels were selected is saved for the gradient, not the noise. The loop over samples is inside
the loop over blocks of rows, so that memory grows with neither.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from mlc_losses._array.jax_rows import rows_alike
from mlc_losses._array.kth_label import k_largest
from mlc_losses._array.labels import (
    label_indices,
    labels_together,
    num_labels,
    top_k_sum,
)
from mlc_losses._array.layout import Layout, batch_shards, use_layout
from mlc_losses._array.scatter import add_at, values_at
from mlc_losses.perturbed._hashed_noise import normal_row

# entries of one block of perturbed scores: small enough to stay in a cache
_BLOCK_SIZE = 2**18
# and of one block of samples, where a sample is smaller than that: larger ones gain nothing
_SMALL_SIZE = 2**15


class Plan(NamedTuple):
    """What is static: it decides the shapes."""

    k: int
    only_last: bool
    num_samples: int
    num_labels: int
    from_noise: bool  # the source is noise [R, B, L], not seeds [R, ceil(B / 2), 2]
    layout: Layout  # where labels are in parts, num_labels is that of the part


def seeds(key: Any, num_rows: int, num_draws: int) -> Any:
    """Seeds `[num_rows, num_draws, 2]` of the noise of the rows that are here."""
    shards = batch_shards(jnp)
    num_examples = num_rows if shards is None else shards.global_size(num_rows)
    found = jax.random.bits(key, (num_examples, num_draws, 2), dtype=jnp.uint32)
    if shards is None:
        return found
    return lax.dynamic_slice_in_dim(found, shards.offset(num_rows), num_rows)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sampled_mean(plan: Plan, scores: Any, sigma: Any, source: Any) -> Any:
    """Mean `[R]` over samples of the k-th largest (or the sum of the k largest), and the labels.

    scores `[R, L]`, sigma `[R]`; the labels selected are `[R, W]`, with L for those at infinity.
    """
    return _forward(plan, scores, sigma, source)[0]


def _forward(plan: Plan, scores: Any, sigma: Any, source: Any) -> tuple[Any, Any]:
    value, indices = _row_wise(plan)(*map(jax.lax.stop_gradient, (scores, sigma, source)))
    # the value as a function of the scores, so that the gradient of a gradient is right too
    with use_layout(plan.layout):
        own = values_at(scores, indices)
        moved = top_k_sum(own - jax.lax.stop_gradient(own)) / plan.num_samples
    value = value + moved
    return (value, indices), indices


def _backward(plan: Plan, indices: Any, cotangents: Any) -> tuple[Any, None, None]:
    share = cotangents[0][:, None] / plan.num_samples
    with use_layout(plan.layout):
        derivatives = add_at(indices, jnp.broadcast_to(share, indices.shape), plan.num_labels)
    return derivatives, None, None


_sampled_mean.defvjp(_forward, _backward)


@partial(jax.jit, static_argnums=0)
def sampled_mean(plan: Plan, scores: Any, sigma: Any, source: Any) -> Any:
    """`_sampled_mean`, where a mesh may have split the scores over its explicit axes."""
    scores = labels_together(scores)
    return _sampled_mean(plan, scores, *(rows_alike(x, scores) for x in (sigma, source)))


@cache
def _row_wise(plan: Plan) -> Callable[..., Any]:
    """`_selections` of the plan; under vmap the mapped examples are rows like any others."""
    if plan.layout != Layout():
        return partial(_selections, plan)
    selections = custom_vmap(partial(_selections, plan))

    @selections.def_vmap
    def fold(axis_size: int, in_batched: Any, *arrays: Any) -> Any:
        def rows(x: Any, batched: bool) -> Any:
            x = x if batched else jnp.broadcast_to(x[None], (axis_size, *x.shape))
            return x.reshape(-1, *x.shape[2:])

        results = selections(*map(rows, arrays, in_batched))
        apart = (axis_size, results[0].shape[0] // max(axis_size, 1))
        return tuple(x.reshape(*apart, *x.shape[1:]) for x in results), (True, True)

    return selections


def _selections(plan: Plan, scores: Any, sigma: Any, source: Any) -> tuple[Any, Any]:
    num_rows = scores.shape[0]
    rows = max(1, min(num_rows, _BLOCK_SIZE // plan.num_labels))
    draws = max(1, _SMALL_SIZE // (rows * plan.num_labels))
    one_row = partial(_selections_of_row, plan, draws)
    arrays = (scores, sigma, source)
    with use_layout(plan.layout):
        return _map_rows(lambda row: one_row(*row), arrays, num_rows, rows)


def _selections_of_row(
    plan: Plan, block: int, scores: Any, sigma: Any, source: Any
) -> tuple[Any, Any]:
    """One example, `[L]`."""

    numbers = label_indices(scores)

    def select(perturbed: Any) -> tuple[Any, Any]:
        values, indices = k_largest(perturbed, plan.k, only_last=plan.only_last)
        indices = jnp.where(jnp.isfinite(values), indices, num_labels(scores))
        return top_k_sum(values), indices.astype(jnp.int32)

    def one(noise: Any) -> tuple[Any, Any]:
        return select(scores + sigma * noise)

    def pair(seed: Any) -> tuple[Any, Any]:
        noise = normal_row(seed, numbers).astype(scores.dtype)
        # written once and read twice; fused into both readers it would be computed twice
        noise = jax.lax.optimization_barrier(sigma * noise)
        (value, labels), (other, more) = select(scores + noise), select(scores - noise)
        return value + other, jnp.concat([labels, more])

    if plan.from_noise:
        values, indices = _map_blocks(one, source, plan.num_samples, block)
        return values.mean(), indices.reshape(-1)
    pairs = plan.num_samples // 2
    values, indices = _map_blocks(pair, source[:pairs], pairs, block)
    total, indices = values.sum(), indices.reshape(-1)
    if plan.num_samples % 2:
        last, labels = one(normal_row(source[-1], numbers).astype(scores.dtype))
        total, indices = total + last, jnp.concat([indices, labels])
    return total / plan.num_samples, indices


def _map_rows(function: Callable[..., Any], arrays: Any, num_rows: int, rows: int) -> Any:
    if num_rows <= rows or jax.device_count() == 1:
        return _map_blocks(function, arrays, num_rows, rows)
    # each block takes its rows from all over the batch: those of every device it may be split over
    blocks = next(b for b in range(-(-num_rows // rows), num_rows + 1) if num_rows % b == 0)
    cut = [x.reshape(num_rows // blocks, blocks, *x.shape[1:]) for x in arrays]

    def one_block(number: Any) -> Any:
        return jax.vmap(function)([lax.dynamic_index_in_dim(x, number, 1, False) for x in cut])

    done = lax.map(one_block, jnp.arange(blocks))
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(num_rows, *x.shape[2:]), done)


def _map_blocks(function: Callable[..., Any], arrays: Any, length: int, block: int) -> Any:
    if length <= block:
        return jax.vmap(function)(arrays)
    return jax.lax.map(function, arrays, batch_size=block)
