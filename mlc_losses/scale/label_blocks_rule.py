"""How the reductions of a loss are put together from blocks of labels; imported when used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from mlc_losses._array.axis import Layout, NeedsWholeAxisError, OneBlock, laid_out
from mlc_losses._array.jax_blocks import Blocks, Found, begin
from mlc_losses._array.labels import scatter_true
from mlc_losses.scale._arguments import Head, name_of
from mlc_losses.scale.linear_rule import coefficients_of, cut, rows_within_budget, wide

_LABELS = 2**16


class _Cut(NamedTuple):
    """A layer in whole blocks `[blocks, D, width]`, and what is left over `[D, rest]`."""

    kernel: Any
    kernel_rest: Any
    bias: Any
    bias_rest: Any


def mean_loss(loss: Callable[..., Any], head: Head, label_block: int | None) -> Any:
    num_rows, num_labels = head.features.shape[0], head.kernel.shape[1]
    dtype = wide(head.kernel.dtype)
    if num_rows == 0:
        return jnp.zeros((), dtype)
    width = min(label_block or _LABELS, num_labels)
    count, size = cut(num_rows, head.block_size or rows_within_budget(width))
    layer = _cut_layer(head, width)
    coefficients = coefficients_of(head, dtype)

    @jax.checkpoint
    def add_rows(total: Any, index: Any) -> tuple[Any, None]:
        start = jnp.minimum(index * size, num_rows - size)

        def rows(x: Any) -> Any:
            return None if x is None else lax.dynamic_slice_in_dim(x, start, size)

        # an earlier block has had some rows of the last one
        fresh = start + jnp.arange(size) >= index * size
        own = jnp.where(fresh, rows(coefficients), 0.0)
        features = jnp.where(own[:, None] == 0, 0.0, rows(head.features))
        block = head._replace(features=features, targets=rows(head.targets), where=rows(head.where))
        values = _values(loss, block, layer, width, num_labels)
        return total + jnp.where(own == 0, 0.0, own * values.astype(dtype)).sum(), None

    try:
        total, _ = lax.scan(add_rows, jnp.zeros((), dtype), jnp.arange(count))
    except NeedsWholeAxisError as error:
        raise ValueError(
            f"{name_of(loss)} cannot be computed in blocks of labels: it {error}; use linear_loss"
        ) from None
    return total


def _cut_layer(head: Head, width: int) -> _Cut:
    """Blocks apart, so that each gets its gradient alone."""

    def apart(x: Any) -> tuple[Any, Any]:
        if x is None:
            return None, None
        whole = x.shape[-1] // width * width
        blocks = x[..., :whole].reshape(*x.shape[:-1], -1, width)
        return jnp.moveaxis(blocks, -2, 0), x[..., whole:]

    return _Cut(*apart(head.kernel), *apart(head.bias))


def _values(loss: Any, rows: Head, layer: _Cut, width: int, num_labels: int) -> Any:
    """The losses of a block of rows."""

    def run(known: list[Any], kernel: Any, bias: Any, offset: Any) -> Any:
        """The loss, or, as an exception, the first of its reductions that is not known."""
        size = kernel.shape[1]

        def columns(x: Any) -> Any:
            return lax.dynamic_slice_in_dim(x, offset, size, axis=1)

        targets = rows.targets
        if rows.from_ids:
            targets = scatter_true(targets.astype(jnp.int32) - offset, size)
        elif targets.ndim == 2:
            targets = columns(targets)
        given = {} if rows.where is None else {"where": columns(rows.where)}
        logits = jnp.matmul(rows.features, kernel, preferred_element_type=wide(kernel.dtype))
        if bias is not None:
            logits = logits + bias.astype(logits.dtype)[None, :]
        parts = Blocks(known, offset, num_labels)
        with laid_out(Layout(labels=parts, batch=OneBlock())):
            values = loss(logits, targets, **given)
        if values.shape != (rows.features.shape[0],):
            raise ValueError(
                "the loss must return one value per example, shape "
                f"{(rows.features.shape[0],)}, got {values.shape}"
            )
        return values

    known: list[Any] = []
    first = (layer.kernel[0], None if layer.bias is None else layer.bias[0], jnp.int32(0))
    while True:
        reduction = _next_reduction(run, known, first)
        if reduction is None:
            # nothing of the block is left in it but its reductions
            return run(known, *first)
        known = [*known, _reduced(run, known, layer, width, reduction)]


class _Reduction(NamedTuple):
    combine: Callable[..., Any]
    begin: Any


def _next_reduction(run: Any, known: list[Any], block: Any) -> _Reduction | None:
    """The first one that is not known, told from its shapes alone; None at the end of the loss."""
    seen: list[Found] = []

    def shapes(known: list[Any], block: Any) -> Any:
        try:
            return run(known, *block)
        except Found as found:
            seen.append(found)
            return found.value

    shape = jax.eval_shape(shapes, known, block)
    return _Reduction(seen[0].combine, begin(shape, seen[0].start)) if seen else None


def _reduced(run: Any, known: list[Any], layer: _Cut, width: int, reduction: _Reduction) -> Any:
    @jax.checkpoint
    def found(known: list[Any], kernel: Any, bias: Any, offset: Any) -> Any:
        try:
            run(known, kernel, bias, offset)
        except Found as partial:
            return partial.value
        raise AssertionError("the loss takes another course on this block")

    def add(total: Any, block: Any) -> tuple[Any, None]:
        return reduction.combine(total, found(known, *block)), None

    blocks = layer.kernel.shape[0]
    offsets = width * jnp.arange(blocks, dtype=jnp.int32)
    total, _ = lax.scan(add, reduction.begin, (layer.kernel, layer.bias, offsets))
    if layer.kernel_rest.shape[1]:
        rest = (layer.kernel_rest, layer.bias_rest, jnp.int32(blocks * width))
        total, _ = add(total, rest)
    return total
