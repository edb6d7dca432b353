"""The label reductions of a loss, computed over blocks of labels; imported when used."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.layout import Layout, NeedsWholeAxisError, use_layout
from mlc_losses._array.scatter import scatter_true
from mlc_losses.scale._arguments import Head, name_of
from mlc_losses.scale._block_check import Traced, check
from mlc_losses.scale._blocks import Blocks, Request, neutral
from mlc_losses.scale._linear import coefficients_of, rows_within_budget, wide
from mlc_losses.scale._programs import Program, traced
from mlc_losses.scale._rows import OneBlock, cut

_LABELS = 2**16


class Reduction(NamedTuple):
    """A label reduction of a loss.

    `of_block` and `of_rest` give what a block of labels, and the shorter last one, contribute:
    functions of (known, logits, targets, where, offset).
    """

    of_block: Program
    of_rest: Program | None
    combine: Program
    start: Program


class Plan(NamedTuple):
    """What is static."""

    reductions: tuple[Reduction, ...]
    last: Program  # the loss, once all its reductions are known
    width: int
    rows: int
    blocks: int
    from_ids: bool


class Data(NamedTuple):
    """The arrays other than the layer."""

    targets: Any
    where: Any
    coefficients: Any
    closed_over: Any  # pairs for the reductions: in a block, and in the rest
    closed_over_last: Any


class _Cut(NamedTuple):
    """A layer in whole blocks `[blocks, D, width]`, and what is left over `[D, rest]`."""

    kernel: Any
    kernel_rest: Any
    bias: Any
    bias_rest: Any


def mean_by_label_blocks(loss: Callable[..., Any], head: Head, label_block: int | None) -> Any:
    num_rows, num_labels = head.features.shape[0], head.kernel.shape[1]
    dtype = wide(head.kernel.dtype)
    if num_rows == 0:
        return jnp.zeros((), dtype)
    width = min(label_block or _LABELS, num_labels)
    blocks, rows = cut(num_rows, head.block_size or rows_within_budget(width))
    try:
        reductions, last, *closed_over = _stages(loss, head, rows, width)
    except NeedsWholeAxisError as error:
        raise ValueError(
            f"{name_of(loss)} cannot be computed in blocks of labels: it {error}; use linear_loss"
        ) from None
    plan = Plan(reductions, last, width, rows, blocks, head.from_ids)
    data = Data(head.targets, head.where, coefficients_of(head, dtype), *closed_over)
    return _compiled_sum(plan, *head[:3], data)


def _stages(loss: Any, head: Head, rows: int, width: int) -> Any:
    """The reductions of a loss, its end, and what each of them closes over."""
    num_labels = head.kernel.shape[1]
    stages: list[_Stage] = []
    known: tuple[Any, ...] = ()
    while not stages or stages[-1].request is not None:
        at = partial(_next_stage, loss, head, rows, known)
        stages.append(at(width))
        # of fewer labels one could not be told from an axis of one entry
        if num_labels > 2:
            narrow, wide = at(num_labels - 1), at(num_labels)
            check(narrow.traced, wide.traced, is_last=stages[-1].request is None)
        known = (*known, stages[-1].program.result)
    *stages, last = stages
    reductions, closed_over = [], []
    for i, stage in enumerate(stages):
        rest = None
        # only now that the whole loss is known to work on blocks, of whatever width
        if num_labels % width:
            rest = _next_stage(loss, head, rows, known[:i], num_labels % width)
        reductions.append(_reduction(stage, rest))
        closed_over.append((stage.closed_over, None if rest is None else rest.closed_over))
    return tuple(reductions), last.program, closed_over, last.closed_over


def _reduction(stage: _Stage, rest: _Stage | None) -> Reduction:
    assert stage.request is not None
    shape = stage.program.result
    combine, _ = traced(stage.request.combine, shape, shape)
    start, _ = traced(partial(neutral, shape, stage.request.start))
    return Reduction(stage.program, None if rest is None else rest.program, combine, start)


class _Stage(NamedTuple):
    """A loss on a block of labels, up to a reduction or to its end."""

    program: Program
    closed_over: Any
    request: Request | None  # None at the end of the loss

    @property
    def traced(self) -> Traced:
        return Traced(self.program.jaxpr, self.closed_over)


def _next_stage(loss: Any, head: Head, rows: int, known: tuple[Any, ...], width: int) -> _Stage:
    """A loss on a block of this many labels, up to its first reduction that is not known."""
    request: Request | None = None

    def run(known: Any, logits: Any, targets: Any, where: Any, offset: Any) -> Any:
        nonlocal request
        given = {} if where is None else {"where": where}
        blocks = Blocks(known, offset, head.kernel.shape[1])
        with use_layout(Layout(labels=blocks, batch=OneBlock())):
            values = loss(logits, targets, **given)
        if values.shape != (rows,):
            raise ValueError(
                f"the loss must return one value per example, shape {(rows,)}, got {values.shape}"
            )
        request = blocks.request
        return values if request is None else request.value

    by_label = jax.ShapeDtypeStruct((rows, width), wide(head.kernel.dtype))
    targets = jax.ShapeDtypeStruct(by_label.shape, bool if head.from_ids else head.targets.dtype)
    if head.targets.ndim == 1:
        targets = jax.ShapeDtypeStruct((rows,), head.targets.dtype)
    where = None if head.where is None else jax.ShapeDtypeStruct(by_label.shape, bool)
    offset = jax.ShapeDtypeStruct((), jnp.int32)
    program, closed_over = traced(run, known, by_label, targets, where, offset)
    # what has come out of an inner trace looks like an array from outside
    if request is not None and any(x in program.jaxpr.constvars for x in program.jaxpr.outvars):
        raise NeedsWholeAxisError("has a jax.jit or another transformation inside; leave it out")
    return _Stage(program, closed_over, request)


def _weighted_sum(plan: Plan, features: Any, kernel: Any, bias: Any, data: Data) -> Any:
    dtype, num_rows = data.coefficients.dtype, features.shape[0]
    # so that gradients are added up, and divided by N, in it
    features, kernel, bias = jax.tree.map(lambda x: x.astype(dtype), (features, kernel, bias))
    layer = _cut_layer(kernel, bias, plan.width)

    @jax.checkpoint
    def add_rows(total: Any, index: Any) -> tuple[Any, None]:
        start = jnp.minimum(index * plan.rows, num_rows - plan.rows)

        def rows(x: Any) -> Any:
            return None if x is None else lax.dynamic_slice_in_dim(x, start, plan.rows)

        # an earlier block has had some rows of the last one
        fresh = start + jnp.arange(plan.rows) >= index * plan.rows
        own = jnp.where(fresh, rows(data.coefficients), 0.0)
        block = jnp.where(own[:, None] == 0, 0.0, rows(features))
        part = data._replace(targets=rows(data.targets), where=rows(data.where))
        values = _values(plan, block, layer, part)
        return total + jnp.where(own == 0, 0.0, own * values.astype(dtype)).sum(), None

    total, _ = lax.scan(add_rows, jnp.zeros((), dtype), jnp.arange(plan.blocks))
    return total


# called eagerly too, it compiles once for each plan and shape
_compiled_sum = jax.jit(_weighted_sum, static_argnums=0)


def _cut_layer(kernel: Any, bias: Any, width: int) -> _Cut:
    """Blocks apart, so that each gets its gradient alone."""

    def apart(x: Any) -> tuple[Any, Any]:
        if x is None:
            return None, None
        whole = x.shape[-1] // width * width
        blocks = x[..., :whole].reshape(*x.shape[:-1], -1, width)
        return jnp.moveaxis(blocks, -2, 0), x[..., whole:]

    return _Cut(*apart(kernel), *apart(bias))


def _values(plan: Plan, features: Any, layer: _Cut, data: Data) -> Any:
    """The losses of a block of rows."""

    def arguments(kernel: Any, bias: Any, offset: Any) -> tuple[Any, ...]:
        """Logits, targets, where and offset of a block of labels."""
        size = kernel.shape[1]

        def columns(x: Any) -> Any:
            if x.shape[1] == 1:  # of whole examples
                return jnp.broadcast_to(x, (x.shape[0], size))
            return lax.dynamic_slice_in_dim(x, offset, size, axis=1)

        targets = data.targets
        if plan.from_ids:
            targets = scatter_true(targets.astype(jnp.int32) - offset, size)
        elif targets.ndim == 2:
            targets = columns(targets)
        where = None if data.where is None else columns(data.where)
        logits = jnp.matmul(features, kernel)
        if bias is not None:
            logits = logits + bias[None, :]
        return logits, targets, where, offset

    def reduced(known: Any, reduction: Reduction, closed_over: Any) -> Any:
        in_block, in_rest = closed_over

        @jax.checkpoint
        def of_block(known: Any, block: Any) -> Any:
            return reduction.of_block(in_block, known, *arguments(*block))

        def add(total: Any, block: Any) -> tuple[Any, None]:
            return reduction.combine([], total, of_block(known, block)), None

        blocks = layer.kernel.shape[0]
        offsets = plan.width * jnp.arange(blocks, dtype=jnp.int32)
        total, _ = lax.scan(add, reduction.start([]), (layer.kernel, layer.bias, offsets))
        if reduction.of_rest is not None:
            rest = layer.kernel_rest, layer.bias_rest, jnp.int32(blocks * plan.width)
            more = reduction.of_rest(in_rest, known, *arguments(*rest))
            total = reduction.combine([], total, more)
        return total

    known: tuple[Any, ...] = ()
    for reduction, closed_over in zip(plan.reductions, data.closed_over, strict=True):
        known = (*known, reduced(known, reduction, closed_over))
    # nothing of the block is left in the loss but its reductions
    first = layer.kernel[0], None if layer.bias is None else layer.bias[0], jnp.int32(0)
    return plan.last(data.closed_over_last, known, *arguments(*first))
