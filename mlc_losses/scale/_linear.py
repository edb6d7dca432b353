"""The blocks of a linear layer and the gradient rule of their loss on JAX; imported when used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.scatter import scatter_true
from mlc_losses.scale import _rows
from mlc_losses.scale._arguments import Head
from mlc_losses.scale._chunks import Chunk, by_chunks
from mlc_losses.scale._programs import Program, traced
from mlc_losses.scale._rows import (
    ACCELERATOR_BYTES,
    CPU_BYTES,
    cut,
    rows_within,
    values_of_block,
)

# with fewer rows the passes over the kernel and its gradient, one per block, would take over
_LEAST_ROWS = 32


class Parameters(NamedTuple):
    """What gets a gradient."""

    features: Any
    kernel: Any
    bias: Any
    closed_over: Any  # traced arrays inside the loss


class Data(NamedTuple):
    """What does not."""

    targets: Any  # by rows, as `where` and the coefficients
    where: Any
    coefficients: Any  # [N], the weights divided by their sum
    keys: Any  # one per block
    closed_over: Any  # the other arrays inside the loss


class Plan(NamedTuple):
    """What is static."""

    loss: Program  # (logits, targets, where, key) -> [rows]
    traced: tuple[bool, ...]  # which of the arrays inside the loss are
    rows: int
    blocks: int
    from_ids: bool


def mean_by_row_blocks(loss: Callable[..., Any], head: Head, key: Any) -> Any:
    num_rows, num_labels = head.features.shape[0], head.kernel.shape[1]
    dtype = wide(head.kernel.dtype)
    if num_rows == 0:
        return jnp.zeros((), dtype)
    within = max(_LEAST_ROWS, rows_within_budget(num_labels))
    blocks, rows = cut(num_rows, head.block_size or within)
    keys = None if key is None else jax.random.split(key, blocks)
    program, closed_over = _program_of(loss, head, rows, dtype, keys)
    # an array that is not traced has no gradient
    is_traced = tuple(_may_have_gradient(x) for x in closed_over)
    inside = [x for x in closed_over if _may_have_gradient(x)]
    fixed = [x for x in closed_over if not _may_have_gradient(x)]
    plan = Plan(program, is_traced, rows, blocks, head.from_ids)
    parameters = Parameters(*head[:3], inside)
    data = Data(head.targets, head.where, coefficients_of(head, dtype), keys, fixed)
    return _compiled_sum(plan, parameters, data)


def coefficients_of(head: Head, dtype: Any) -> Any:
    """The weights, divided by their sum."""
    shape = head.features.shape[:1]
    weights = jnp.ones(shape, dtype) if head.weights is None else head.weights.astype(dtype)
    total = weights.sum()
    return lax.stop_gradient(weights / jnp.where(total == 0, 1.0, total))


def rows_within_budget(num_labels: int) -> int:
    return rows_within(budget(), num_labels)


def budget() -> int:
    return CPU_BYTES if jax.default_backend() == "cpu" else ACCELERATOR_BYTES


def _program_of(
    loss: Any, head: Head, rows: int, dtype: Any, keys: Any
) -> tuple[Program, list[Any]]:
    """The loss of a block of rows, and the arrays that it closes over."""

    def call(logits: Any, targets: Any, where: Any, key: Any) -> Any:
        values = values_of_block(loss, logits, targets, where, key)
        return values.astype(dtype)

    def like(x: Any) -> Any:
        return None if x is None else jax.ShapeDtypeStruct((rows, *x.shape[1:]), x.dtype)

    logits = jax.ShapeDtypeStruct((rows, head.kernel.shape[1]), dtype)
    targets = jax.ShapeDtypeStruct(logits.shape, bool) if head.from_ids else like(head.targets)
    key = None if keys is None else jax.ShapeDtypeStruct(keys.shape[1:], keys.dtype)
    return traced(call, logits, targets, like(head.where), key)


def _may_have_gradient(x: Any) -> bool:
    return isinstance(x, jax.core.Tracer) and jnp.issubdtype(x.dtype, jnp.inexact)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted_sum(plan: Plan, parameters: Parameters, data: Data) -> Any:
    def add_block(index: Any, state: Any) -> Any:
        total, logits = state
        block = _block(plan, parameters, data, index)
        logits = _logits(parameters, block.features, logits)
        values = block.loss(logits, parameters.closed_over)
        return total + _value(block.coefficients, values), logits

    start = jnp.zeros((), data.coefficients.dtype), _no_logits(plan, parameters, data)
    return lax.fori_loop(0, plan.blocks, add_block, start)[0]


def _forward(plan: Plan, parameters: Parameters, data: Data) -> tuple[Any, Any]:
    dtype = data.coefficients.dtype

    def add_block(index: Any, state: Any) -> Any:
        total, derivatives, logits = state
        block = _block(plan, parameters, data, index)
        values, pull_back = jax.vjp(block.loss, logits, parameters.closed_over)
        by_logits, by_closed_over = pull_back(_after(values, block.coefficients))
        # written once, for the three products that read it
        by_logits = lax.optimization_barrier(
            jnp.where(block.coefficients[:, None] == 0, 0.0, by_logits)
        )
        more = jax.tree.map(
            lambda old, new: old + new.astype(old.dtype), derivatives.closed_over, by_closed_over
        )
        derivatives = derivatives._replace(closed_over=more)
        following = None if plan.blocks == 1 else _block(plan, parameters, data, index + 1).features
        derivatives, logits = _add_products(parameters, block, by_logits, derivatives, following)
        return total + _value(block.coefficients, values), derivatives, logits

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, wide(x.dtype)), parameters)
    first = _block(plan, parameters, data, 0).features
    logits = _logits(parameters, first, _no_logits(plan, parameters, data))
    start = jnp.zeros((), dtype), zeros, logits
    total, derivatives, _ = lax.fori_loop(0, plan.blocks, add_block, start)
    # half precision is rounded to at the very end, when all factors are known
    likes = jax.tree.map(lambda x: jnp.zeros((), x.dtype), parameters)
    return total, (derivatives, likes)


def _after(values: Any, x: Any) -> Any:
    """`x`, which XLA cannot have before the values: the condition always holds.

    The derivative is then computed when nothing reads the logits any more. XLA copies them for it
    otherwise, and a barrier is gone when it decides that.
    """
    return jnp.where((values == values) | (values != values), x, 0)


def _no_logits(plan: Plan, parameters: Parameters, data: Data) -> Any:
    """Memory for the logits of a block."""
    return lax.empty((plan.rows, parameters.kernel.shape[1]), data.coefficients.dtype)


def _backward(plan: Plan, kept: Any, cotangent: Any) -> tuple[Any, None]:
    def scaled(derivative: Any, like: Any) -> Any:
        return (cotangent.astype(derivative.dtype) * derivative).astype(like.dtype)

    return jax.tree.map(scaled, *kept), None


_weighted_sum.defvjp(_forward, _backward)

# called eagerly too, it compiles once for each program and shape
_compiled_sum = jax.jit(_weighted_sum, static_argnums=0)


class _Block(NamedTuple):
    start: Any
    features: Any
    coefficients: Any
    loss: Callable[..., Any]


def _block(plan: Plan, parameters: Parameters, data: Data, index: Any) -> _Block:
    """Rows of the data; a row that an earlier block had has coefficient 0."""
    num_rows = parameters.features.shape[0]
    start = jnp.minimum(index * plan.rows, num_rows - plan.rows)

    def rows(x: Any) -> Any:
        return None if x is None else lax.dynamic_slice_in_dim(x, start, plan.rows)

    fresh = start + jnp.arange(plan.rows) >= index * plan.rows
    coefficients = jnp.where(fresh, rows(data.coefficients), 0.0)
    # what is not counted is not to spoil a product either
    features = jnp.where(coefficients[:, None] == 0, 0.0, rows(parameters.features))
    targets = rows(data.targets)
    if plan.from_ids:
        targets = scatter_true(targets.astype(jnp.int32), parameters.kernel.shape[1])
    where, key = rows(data.where), None if data.keys is None else data.keys[index]

    def loss(logits: Any, closed_over: Any) -> Any:
        inside, fixed = iter(closed_over), iter(data.closed_over)
        arrays = [next(inside if t else fixed) for t in plan.traced]
        return plan.loss(arrays, logits, targets, where, key)

    return _Block(start, features, coefficients, loss)


def _logits(parameters: Parameters, features: Any, logits: Any) -> Any:
    """Written over these, a few labels at a time.

    So the bias is added once. XLA would keep the product, and add it wherever logits are read.
    """

    def add_chunk(chunk: Chunk, logits: Any) -> Any:
        return chunk.replaced(logits, _part_of_logits(parameters, features, chunk, logits.dtype))

    return by_chunks(add_chunk, parameters.kernel, logits)


def _part_of_logits(parameters: Parameters, features: Any, chunk: Chunk, dtype: Any) -> Any:
    part = jnp.matmul(features, chunk.of(parameters.kernel), preferred_element_type=dtype)
    if parameters.bias is None:
        return part
    return part + chunk.of(parameters.bias).astype(dtype)[None, :]


def _value(coefficients: Any, values: Any) -> Any:
    return jnp.where(coefficients == 0, 0.0, coefficients * values).sum()


def _add_products(
    parameters: Parameters, block: _Block, by_logits: Any, derivatives: Any, following: Any
) -> tuple[Any, Any]:
    """The derivatives, with those that a block's `[rows, L]` brings, a few labels at a time.

    As a whole the kernel's would be a second array of its size. The logits of the following
    features are written over `by_logits` in the same pass, so that the kernel is read once.
    """
    factor = parameters.kernel.dtype
    if factor == jnp.float16:  # has no exponents for what has been divided by N
        factor = jnp.dtype(jnp.float32)
    rows = block.features.shape[0]
    # formed first: XLA multiplies by the transpose of an array more slowly
    transposed = lax.optimization_barrier(block.features.astype(factor).T)

    def add_chunk(chunk: Chunk, state: Any) -> Any:
        features, kernel, bias, logits = state
        part = jnp.where(chunk.fresh[None, :], chunk.of(logits), 0.0)
        narrow, by_kernel = part.astype(factor), chunk.of(parameters.kernel).astype(factor)
        features = features + jnp.matmul(narrow, by_kernel.T, preferred_element_type=features.dtype)
        product = jnp.matmul(transposed, narrow, preferred_element_type=kernel.dtype)
        kernel = chunk.replaced(kernel, chunk.of(kernel) + product)
        if bias is not None:
            bias = chunk.replaced(bias, chunk.of(bias) + part.sum(axis=0).astype(bias.dtype))
        if following is not None:
            more = _part_of_logits(parameters, following, chunk, logits.dtype)
            # XLA would copy the array if it could write before the products have read it
            logits = chunk._replace(start=_after(product[0, 0], chunk.start)).replaced(logits, more)
        return features, kernel, bias, logits

    own = lax.dynamic_slice_in_dim(derivatives.features, block.start, rows)
    start = own, derivatives.kernel, derivatives.bias, by_logits
    own, kernel, bias, logits = by_chunks(add_chunk, parameters.kernel, start)
    features = lax.dynamic_update_slice_in_dim(derivatives.features, own, block.start, 0)
    return derivatives._replace(features=features, kernel=kernel, bias=bias), logits


def wide(dtype: Any) -> Any:
    """What is added up in: no half precision."""
    return jnp.dtype(_rows.wide(jnp, dtype))
